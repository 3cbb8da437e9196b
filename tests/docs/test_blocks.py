"""Code blocks of the documents work.

By language: `record` and `sse` are decoded, `toml`, `json` and `python` read (`test_examples.py`),
`python` runs too (`test_python.py`). The others are below.
"""

from __future__ import annotations

import configparser
import re
import shlex
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import typer
import yaml

from gateway.cli import build
from gateway.http.public import EVENTS
from tests.commands.command import gateway
from tests.docs.markdown import DOCUMENTS, ROOT, Block, all_blocks, blocks
from tests.eventually import DEADLINE
from tests.programs import find, require

SHOWN = {
    " Kafka ──►": "a picture",
    "gateway/\n": "the tree of modules: tests/docs/test_design.py",
    "fetch cycles": "a formula: tests/fleet/test_capacity.py",
    "longest wait = ": "a formula: tests/fleet/test_capacity.py",
    "P/N": "a formula: tests/fleet/test_capacity.py",
    "tests/core/": "the tree of tests",
    "GATEWAY_SOURCES: ": "an error: tests/test_sources.py",
}
"""Text that is not command output, by its beginning, with the reason."""


def where(block: object) -> str:
    return block.where if isinstance(block, Block) else ""


each = pytest.mark.parametrize


def outputs() -> Iterator[tuple[Block, Block]]:
    """Yield each text block with the preceding commands that print it."""
    found = all_blocks()
    for before, block in zip([None, *found], found, strict=False):
        if block.language == "text" and not block.text.startswith(tuple(SHOWN)):
            assert before is not None, block.where
            yield before, block


@each(("before", "block"), list(outputs()), ids=where)
async def test_a_text_block_is_the_output_of_the_preceding_command(
    before: Block, block: Block
) -> None:
    advice = f"{block.where}: a ```text is the output of one `gateway` command in a ```sh before it"
    assert before.language == "sh", f"{advice}, or stands in SHOWN of {__file__}"
    words = shlex.split(before.text)
    assert words[0] == "gateway", advice
    finished = await gateway(*words[1:])
    lines = iter(finished.out.splitlines())
    for line in block.text.splitlines():
        assert line in lines, f"{advice}; this line is not printed: {line!r}"  # in order


@each("block", blocks("sh"), ids=where)
def test_shell_blocks_parse_and_gateway_accepts_their_arguments(block: Block) -> None:
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True, timeout=DEADLINE)
    for target in re.findall(r"^make (\w+)", block.text, re.MULTILINE):
        assert f"\n{target}:" in (ROOT / "Makefile").read_text(), f"{block.where}: make {target}"
    program = typer.main.get_command(build())
    for words in commands(block.text):
        try:
            context = program.make_context("gateway", list(words), resilient_parsing=False)
            name, *arguments = words
            command = program.get_command(context, name)  # type: ignore[attr-defined]
            assert command is not None, name
            command.make_context(name, arguments, parent=context)
        except Exception as error:
            raise AssertionError(
                f"{block.where}: `gateway {' '.join(words)}` is not taken: {error}"
            ) from error


def inline() -> list[str]:
    """Return the commands in the running text of all documents and of the dashboard's issues."""
    sources = [*DOCUMENTS, ROOT / "gateway" / "fleet" / "issues.py"]
    found = {line for source in sources for line in _SPAN.findall(source.read_text())}
    return sorted(line for line in found if "[" not in line and "…" not in line)


_SPAN = re.compile(r"`(gateway [a-z]+(?: [^`\n]+)?)`")


@each("line", inline())
def test_inline_commands_exist_with_their_options(line: str) -> None:
    program = typer.main.get_command(build())
    _, name, *arguments = shlex.split(line)
    with program.make_context("gateway", [name], resilient_parsing=True) as context:
        command = program.get_command(context, name)  # type: ignore[attr-defined]
        assert command is not None, name
        command.make_context(name, arguments, parent=context, resilient_parsing=True)


def commands(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each call of `gateway`, including calls inside `$(…)`."""
    for line in text.replace("\\\n", " ").splitlines():
        outer = _INNER.sub("X", line.partition(" #")[0])
        for part in [*_INNER.findall(line), *re.split(r"\||&&|;", outer)]:
            words = re.split(r"\s[<>]\s?", part.strip())[0]
            if words.startswith("gateway "):
                yield shlex.split(words)[1:]


_INNER = re.compile(r"\$\(([^()]*)\)")


def test_calls_of_gateway_are_found_in_any_position() -> None:
    text = (
        'curl -H "Authorization: Bearer $(gateway token alice)" url | gateway id X  # gateway no\n'
    )
    text += "gateway publish a b '{\"c d\": 9}' \\\n  --broadcast && gateway publish < file\n"
    assert list(commands(text)) == [
        ["token", "alice"],
        ["id", "X"],
        ["publish", "a", "b", '{"c d": 9}', "--broadcast"],
        ["publish"],
    ]


def test_javascript_parses() -> None:
    found = blocks("js")
    require("node", in_ci=False)
    # Each block is the body of an async function, so it may await and return.
    script = "new (async () => {}).constructor(require('fs').readFileSync(0, 'utf8'))"
    for block in found:
        body = re.sub(r"^(import|export) .*$", "", block.text, flags=re.MULTILINE)
        read = subprocess.run(
            ["node", "-e", script], input=body, text=True, capture_output=True, check=False
        )
        assert read.returncode == 0, f"{block.where}: {read.stderr}"


@each("block", blocks("html"), ids=where)
def test_a_page_uses_paths_of_the_gateway_and_its_script_parses(block: Block) -> None:
    require("node", in_ci=False)
    (script,) = re.findall(r"<script type=\"module\">(.*?)</script>", block.text, re.DOTALL)
    paths = set(re.findall(r"http://127\.0\.0\.1:8080([^\"]+)", script))
    assert paths == {EVENTS, "/api/v1/client.js"}
    command = ["node", "--input-type=module", "--check", "-"]
    read = subprocess.run(command, input=script, text=True, capture_output=True, check=False)
    assert read.returncode == 0, f"{block.where}: {read.stderr}"


@each("block", blocks("yaml"), ids=where)
def test_yaml_parses(block: Block) -> None:
    assert list(yaml.safe_load_all(block.text)), block.where


@each("block", blocks("nginx"), ids=where)
def test_nginx_accepts_the_configuration(block: Block, tmp_path: Path) -> None:
    require("nginx")
    conf = tmp_path / "nginx.conf"
    conf.write_text(
        f"pid {tmp_path}/pid; error_log stderr;\nevents {{}}\nhttp {{\n{block.text}}}\n"
    )
    tested = subprocess.run(
        [find("nginx") or "nginx", "-t", "-e", "stderr", "-c", str(conf), "-p", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert tested.returncode == 0, f"{block.where}: {tested.stderr}"


@each("block", blocks("sql"), ids=where)
def test_sql_creates_its_table(block: Block) -> None:
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(block.text)  # standard SQL


def test_ini_parses() -> None:
    for block in blocks("ini"):
        parser = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
        parser.read_string(block.text)
        assert parser.sections(), block.where


@each("block", blocks("http"), ids=where)
def test_a_request_uses_an_existing_route(block: Block) -> None:
    first, *headers = block.text.splitlines()
    method, _, target = first.partition(" ")
    assert (method, target.partition("?")[0].split()[0]) == ("GET", EVENTS), block.where
    assert all(re.match(r"[\w-]+: \S", header) for header in headers), block.where
