from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.commands.lines import CHUNK, read_lines


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\n\nb\n", [b"a", b"", b"b"]),
        (b"x" * (2 * CHUNK + 1) + b"\ny", [b"x" * (2 * CHUNK + 1), b"y"]),
        (b"\n" * CHUNK, [b""] * CHUNK),
    ],
)
async def test_a_file_is_read_line_by_line(data: bytes, lines: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(data)
    with path.open("rb") as file:
        assert [line async for line in read_lines(file.fileno())] == lines


async def test_line_is_read_before_the_pipe_ends() -> None:
    reading, writing = os.pipe()
    lines = read_lines(reading)
    os.write(writing, b"first\nsec")
    assert await anext(lines) == b"first"
    os.write(writing, b"ond\n")
    assert await anext(lines) == b"second"
    os.close(writing)
    with pytest.raises(StopAsyncIteration):
        await anext(lines)
    os.close(reading)
