"""A server that cannot be built or does not work is reported in one line, with the reason."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.tools.bench import installation, rivals
from tests.tools.bench.ground import Ground
from tests.tools.bench.installation import BUILDS, Build, build, try_one
from tests.tools.bench.rivals import RIVALS, Rival, Stage, missing_rivals
from tests.tools.bench.tally import Void

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def shell(script: str, folder: Path, **environment: str) -> Build:
    return Build([("sh", "-c", script)], folder, environment=environment)


def test_a_failed_build_is_one_line_with_the_last_line_of_the_command(tmp_path: Path) -> None:
    failing = shell("echo resolving >&2; echo no route >&2; exit 1", tmp_path / "new")
    reason = build(failing)
    assert reason.startswith("not built: `sh -c ")
    assert reason.endswith(": no route")
    silent = build(shell("exit 3", tmp_path))
    assert silent.endswith(": exit code 3")


def test_a_missing_compiler_is_named(tmp_path: Path) -> None:
    assert build(Build([("no-such-compiler",)], tmp_path)) == (
        "not built: no-such-compiler is not installed"
    )


def test_a_build_that_hangs_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "BUILD_SECONDS", 0.1)
    assert build(shell("exec sleep 600", tmp_path)).endswith("took more than 0 s")


def test_a_build_has_its_sources_and_environment_and_no_former_files(tmp_path: Path) -> None:
    (tmp_path / "go.mod").touch()
    script = 'test ! -e go.mod && test -s main.go && echo "$WORD" > word'
    steps = Build(
        [("sh", "-c", script)],
        tmp_path,
        sources={"main.go": Path(__file__)},
        environment={"WORD": "built"},
    )
    assert build(steps) == ""
    assert (tmp_path / "word").read_text() == "built\n"


async def test_a_server_that_does_not_start_is_one_line(tmp_path: Path) -> None:
    @asynccontextmanager
    async def ends(_: Ground) -> AsyncIterator[Stage]:
        raise Void("no such option")
        yield  # pragma: no cover

    rival = Rival(ends, lambda: True, "")
    assert await try_one(rival, Ground("", tmp_path)) == "does not work: no such option"


def test_the_bench_names_each_missing_server_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absent = {name: each._replace(is_installed=lambda: False) for name, each in RIVALS.items()}
    monkeypatch.setattr(rivals, "RIVALS", absent)
    lines = missing_rivals()
    assert len(lines) == len(RIVALS) == 5
    assert "Mercure is not installed and not measured; to install it: make rivals" in lines
    built = {name for name, each in RIVALS.items() if each.remedy == rivals.BUILT}
    assert built == BUILDS.keys()
