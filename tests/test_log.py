from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING

import pytest
import structlog

from gateway import log

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """What `configure` changes belongs to the process, so it is put back."""
    root, aiokafka = logging.getLogger(), logging.getLogger("aiokafka")
    handlers, levels = root.handlers, (root.level, aiokafka.level)
    yield
    root.handlers = handlers
    root.setLevel(levels[0])
    aiokafka.setLevel(levels[1])
    structlog.reset_defaults()


class Terminal:
    """Standard error as a terminal would be."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        return True


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == "", "the log goes to standard error alone"
    return captured.err.splitlines()


def test_json_is_one_object_for_each_event(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "info")
    structlog.stdlib.get_logger("gateway.test").warning("it\nhappened", offset=7, text="é\x00")
    (line,) = lines(capsys)
    entry = json.loads(line)
    assert entry.pop("timestamp").endswith("Z")
    assert entry == {"event": "it\nhappened", "level": "warning", "offset": 7, "text": "é\x00"}


def test_libraries_log_in_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "info")
    logging.getLogger("aiohttp.server").error("it %s", "happened")
    (line,) = lines(capsys)
    entry = json.loads(line)
    assert (entry["event"], entry["level"]) == ("it happened", "error")
    assert "timestamp" in entry


def test_an_exception_is_part_of_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json", "info")
    try:
        raise RuntimeError("a defect")
    except RuntimeError:
        structlog.stdlib.get_logger("gateway.test").exception("it failed")
        logging.getLogger("another").exception("it failed too")
    for line in lines(capsys):
        assert "RuntimeError: a defect" in json.loads(line)["exception"]


def test_text_is_a_line_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("text", "info")
    structlog.stdlib.get_logger("gateway.test").info("it happened", offset=7)
    (line,) = lines(capsys)
    assert "it happened" in line
    assert "offset" in line
    with pytest.raises(json.JSONDecodeError):
        json.loads(line)


def test_without_a_form_it_is_json_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.configure(None, "info")
    structlog.stdlib.get_logger("gateway.test").info("it happened")
    (line,) = lines(capsys)
    assert json.loads(line)["event"] == "it happened"


def test_without_a_form_it_is_text_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    log.configure(None, "info")
    structlog.stdlib.get_logger("gateway.test").info("it happened")
    assert "it happened" in terminal.text
    assert not terminal.text.startswith("{")


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_the_level_is_the_least_that_is_shown(
    capsys: pytest.CaptureFixture[str], level: str, shown: list[str]
) -> None:
    log.configure("json", level)
    logger = structlog.stdlib.get_logger("gateway.test")
    for each in ("debug", "info", "warning", "error"):
        logger.log(logging.getLevelNamesMapping()[each.upper()], "it happened")
    assert [json.loads(line)["level"] for line in lines(capsys)] == shown


@pytest.mark.parametrize(("level", "count"), [("info", 0), ("debug", 1)])
def test_what_aiokafka_says_of_brokers_that_are_away_is_for_debugging(
    capsys: pytest.CaptureFixture[str], level: str, count: int
) -> None:
    log.configure("json", level)
    logging.getLogger("aiokafka.conn").error("no broker")
    assert len(lines(capsys)) == count
