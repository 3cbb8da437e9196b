from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import gateway as package
from gateway.cli import build
from gateway.config import Settings, grouped
from tests.commands.command import gateway
from tests.tokens import SECRET


async def test_help_names_every_command() -> None:
    finished = await gateway("--help")
    assert finished.code == 0
    for name in ("serve", "check", "demo", "publish", "tail", "token", "id"):
        assert f" {name} " in finished.out


@pytest.mark.parametrize("name", typer.main.get_command(build()).commands)  # type: ignore[attr-defined]
def test_help_cuts_no_name_and_shows_no_python_type(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = CliRunner().invoke(build(), [name, "--help"]).output
    assert f"gateway {name} [OPTIONS]" in text
    assert "…" not in text
    assert not re.search(r"[<{][a-z ]*[>}]", text.replace("{}", "")), text


async def test_shell_completes_commands_and_options() -> None:
    program = Path(sys.executable).with_name("gateway")
    for words, found in [("gateway pu", "publish"), ("gateway serve --conf", "--config")]:
        environment = {
            **os.environ,
            "_GATEWAY_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(words.count(" ")),
        }
        process = await asyncio.create_subprocess_exec(
            program, env=environment, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        assert out.decode().split() == [found]


async def test_help_of_serve_lists_every_setting_under_its_subject() -> None:
    finished = await gateway("serve", "--help")
    text = " ".join(finished.out.split())
    for group, names in grouped().items():
        assert f"{group}: GATEWAY_{names[0].upper()}" in text
    assert {f"GATEWAY_{name.upper()}" for name in Settings.model_fields} <= set(
        re.findall(r"GATEWAY_\w+", text)
    )


async def test_the_version_is_the_packages() -> None:
    assert (await gateway("--version")).out == f"gateway {package.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "settings", "line"),
    [
        (["token", "alice"], {}, "error: a token can only be made with GATEWAY_JWT_SECRET"),
        (["token", "alice", "--group", "a"], {"jwt_secret": SECRET}, "error: a token has groups"),
        (["token", "alice"], {"jwt_secret": "short"}, "error: GATEWAY_JWT_SECRET has 5 bytes"),
        (["token", "alice"], {"topix": "x"}, "did you mean GATEWAY_TOPIC?"),
        (["serve"], {}, "error: no key to verify tokens with"),
        (["serve", "--config", "/no/such.toml"], {}, "error: /no/such.toml: cannot be read"),
        (["tail"], {}, "error: USER is missing; name one, or give a --token"),
        (["publish", "a", "b"], {"registry": "/no/such"}, "error: GATEWAY_REGISTRY: /no/such"),
    ],
)
async def test_wrong_settings_are_one_clear_line(
    arguments: list[str], settings: dict[str, str], line: str
) -> None:
    finished = await gateway(*arguments, settings=settings)
    assert finished.code == 2
    assert finished.out == ""
    assert line in finished.err
    assert finished.err.count("\n") == 1


async def test_unknown_command_is_reported_without_a_traceback() -> None:
    finished = await gateway("stream")
    assert finished.code == 2
    assert "No such command 'stream'" in finished.err
    assert "Traceback" not in finished.err


async def test_a_failure_is_one_line_and_exit_code_1() -> None:
    finished = await gateway("id", "nonsense")
    lengths = "30, 59 or 88 characters, or 1 + 25 for each partition in version 2"
    assert finished == (1, "", f"error: an event id has {lengths}\n")


async def test_closed_pipe_is_not_an_error() -> None:
    program = f"{sys.executable} -m gateway --help | true"
    process = await asyncio.create_subprocess_shell(program, stderr=asyncio.subprocess.PIPE)
    _, error = await process.communicate()
    assert error == b""
