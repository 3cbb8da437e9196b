from __future__ import annotations

from typing import Any

import pytest

from gateway.config import load_settings
from gateway.core.records import Record, TopicPartition, Unreadable, UnreadableReason, make_record
from gateway.kafka import dead_letters
from gateway.kafka.dead_letters import DeadLetters
from gateway.supervise import Supervisor

LOG = TopicPartition("orders", 3)
BAD = Unreadable(UnreadableReason.NOT_JSON, "byte 1")


class Counts:
    def __init__(self) -> None:
        self.results: list[str] = []

    def dead_letter(self, result: str) -> None:
        self.results.append(result)


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def letters(counts: Counts) -> DeadLetters:
    settings = load_settings(None, dead_letter_topic="dead")
    return DeadLetters(settings, counts, Supervisor(None))  # type: ignore[arg-type]


def record(offset: int, size: int = 10) -> Record:
    return make_record(offset, 1, b"u", b"x" * size, (("a", b"b"),))


def queued(letters: DeadLetters) -> list[Any]:
    return [letter.message for letter in letters.queue]


def test_record_keeps_its_key_value_and_headers_and_gains_its_place(letters: DeadLetters) -> None:
    letters.add(LOG, record(7), b"as it was", BAD)
    (message,) = queued(letters)
    assert (message.key, message.value) == (b"u", b"as it was")
    assert message.headers == [
        ("a", b"b"),
        ("gateway.reason", b"not_json"),
        ("gateway.detail", b"byte 1"),
        ("gateway.topic", b"orders"),
        ("gateway.partition", b"3"),
        ("gateway.offset", b"7"),
        ("gateway.timestamp", b"1"),
    ]


def test_record_is_queued_once_and_a_tombstone_never(letters: DeadLetters) -> None:
    for _ in range(2):
        letters.add(LOG, record(7), b"", BAD)
    letters.add(LOG._replace(partition=4), record(7), b"", BAD)
    letters.add(LOG, record(8), None, Unreadable(UnreadableReason.EMPTY))
    assert len(queued(letters)) == 2


def test_queue_and_memory_are_bounded(
    letters: DeadLetters, counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "MAX_BYTES", 3 * record(0).size)
    monkeypatch.setattr(dead_letters, "MAX_REMEMBERED", 2)
    for offset in range(5):
        letters.add(LOG, record(offset), b"", BAD)
    assert len(queued(letters)) == 3
    assert counts.results == ["discarded"] * 2
    letters.add(LOG, record(0), b"", BAD)  # forgotten, so it is taken again
    assert counts.results == ["discarded"] * 3
