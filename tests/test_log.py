from __future__ import annotations

import json
import logging
import os
import select
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal, TextIO

import pytest
import structlog

from gateway import log

SECRET = "eyJhbGciOi"

pytestmark = pytest.mark.usefixtures("logging_as_it_was")


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


@pytest.mark.parametrize("form", ["json", "text"])
def test_exception_is_logged_without_its_message_and_local_variables(
    capsys: pytest.CaptureFixture[str], form: Literal["json", "text"]
) -> None:
    log.configure(form, "debug")
    try:
        fail(SECRET, None)
    except RuntimeError:
        structlog.stdlib.get_logger("gateway.test").exception("it failed")
        logging.getLogger("another").exception("it failed too")
    text = capsys.readouterr().err
    assert text.count("builtins.RuntimeError") == 2
    assert text.count("builtins.ValueError") == 2
    assert text.count("which led to:") == 2
    assert text.count("in fail") == 6
    assert SECRET not in text


def fail(token: str, cause: Exception | None) -> None:
    if cause is not None:
        raise RuntimeError(f"{token} is not good") from cause
    try:
        raise ValueError(token)
    except ValueError as error:
        fail(token, error)


def test_exception_that_causes_itself_is_logged_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.configure("json", "info")
    first, second = RuntimeError(), ValueError()
    first.__cause__, second.__cause__ = second, first
    structlog.stdlib.get_logger("gateway.test").error("it failed", exc_info=first)
    (line,) = lines(capsys)
    assert json.loads(line)["exception"].count("RuntimeError") == 1
    assert json.loads(line)["exception"].count("ValueError") == 1


def test_members_of_an_exception_group_are_logged_without_their_texts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.configure("json", "info")
    inner = ExceptionGroup(SECRET, [ValueError(SECRET), KeyError(SECRET)])
    group = ExceptionGroup(SECRET, [OSError(SECRET), inner])
    structlog.stdlib.get_logger("gateway.test").error("it failed", exc_info=group)
    (line,) = lines(capsys)
    text = json.loads(line)["exception"]
    for name in ("OSError", "ValueError", "KeyError"):
        assert text.count(f"builtins.{name}") == 1
    assert SECRET not in line


@pytest.mark.parametrize("level", ["debug", "info"])
def test_what_libraries_say_for_debugging_is_never_shown(
    capsys: pytest.CaptureFixture[str], level: str
) -> None:
    """aiokafka quotes requests there: records, and the password of SASL PLAIN."""
    log.configure("json", level)
    for name in ("aiokafka.conn", "aiohttp.internal", "asyncio"):
        logging.getLogger(name).debug("Request: %s", "a password")
    assert lines(capsys) == []


def test_log_lines_of_libraries_have_the_current_request_id(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.configure("json", "info")
    with structlog.contextvars.bound_contextvars(request_id="b7a1"):
        logging.getLogger("aiohttp.server").error("it happened")
        structlog.stdlib.get_logger("gateway.test").info("something else")
    assert [json.loads(line).get("request_id") for line in lines(capsys)] == ["b7a1", None]


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_line_that_cannot_be_written_is_lost_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stderr", full)
        log.configure("json", "info")
        structlog.stdlib.get_logger("gateway.test").info("it happened")
        monkeypatch.undo()
        with suppress(OSError):  # what it could not write is tried once more
            full.close()
    structlog.stdlib.get_logger("gateway.test").info("it happened after the file was closed")


def test_below_the_level_nothing_is_formatted(capsys: pytest.CaptureFixture[str]) -> None:
    class Costly:
        def __repr__(self) -> str:
            raise AssertionError

    log.configure("json", "warning")
    logger = structlog.stdlib.get_logger("gateway.test")
    logger.info("it happened", fact=Costly())
    assert not logger.is_enabled_for(logging.INFO)
    assert lines(capsys) == []


def test_text_is_a_line_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("text", "info")
    structlog.stdlib.get_logger("gateway.test").info("it happened", offset=7)
    (line,) = lines(capsys)
    assert "it happened" in line
    assert "offset" in line
    with pytest.raises(json.JSONDecodeError):
        json.loads(line)


def test_default_log_format_is_json_without_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log.configure(None, "info")
    structlog.stdlib.get_logger("gateway.test").info("it happened")
    (line,) = lines(capsys)
    assert json.loads(line)["event"] == "it happened"


def test_default_log_format_is_text_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
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


@contextmanager
def pipe() -> Iterator[tuple[int, TextIO]]:
    """A pipe: its reading end, and its writing end as a text file."""
    reading, writing = os.pipe()
    try:
        with open(writing, "w", encoding="utf-8") as file:
            yield reading, file
    finally:
        os.close(reading)


def read_all(reading: int, into: list[str]) -> threading.Thread:
    def read() -> None:
        while data := os.read(reading, 65536):
            into.append(data.decode())

    thread = threading.Thread(target=read)
    thread.start()
    return thread


def test_background_writes_every_line_in_order_and_flushes_at_the_end() -> None:
    with pipe() as (reading, file):
        found: list[str] = []
        thread = read_all(reading, found)
        with log.Background(file) as background:
            log.configure("json", "info", background)
            logger = structlog.stdlib.get_logger("gateway.test")
            for number in range(20_000):
                logger.info("it happened", number=number)
            logging.getLogger("library").error("it happened", extra={})
        file.close()
        thread.join()
    lines = "".join(found).splitlines()
    assert [json.loads(line)["number"] for line in lines[:-1]] == list(range(20_000))


def test_reader_that_stalls_blocks_no_writer_and_dropped_lines_are_counted() -> None:
    with pipe() as (reading, file):
        with log.Background(file, max_waiting=100_000) as background:
            log.configure("json", "info", background)
            logger = structlog.stdlib.get_logger("gateway.test")
            background.write(80_000 * " ")  # without a reader: a pipe holds 64 KB
            while select.select([], [file], [], 0)[1]:
                time.sleep(0.01)
            for number in range(10_000):
                logger.info("it happened", number=number)
            found: list[str] = []
            thread = read_all(reading, found)
            while sum(map(len, found)) < 150_000:
                time.sleep(0.01)
            logger.info("the reader is back")
        file.close()
        thread.join()
    lines = [json.loads(line) for line in "".join(found).splitlines()]
    [dropped] = [line for line in lines if line["event"] == log.DROPPED]
    numbers = [line["number"] for line in lines if "number" in line]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) + dropped["lines"] == 10_000
    assert lines[-1]["event"] == "the reader is back"


def test_exit_does_not_wait_for_a_reader_that_has_stalled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log, "CLOSE_SECONDS", 0.1)
    with pipe() as (reading, file):
        with log.Background(file) as background:
            background.write("x" * 1_000_000)
        found: list[str] = []
        thread = read_all(reading, found)
        while sum(map(len, found)) < 1_000_000:
            time.sleep(0.01)
        file.close()
        thread.join()


def test_file_that_is_closed_or_full_ends_no_writer() -> None:
    with pipe() as (_, file):
        file.close()
        with log.Background(file) as background:
            background.write("lost")
