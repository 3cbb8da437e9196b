from __future__ import annotations

import pytest

from gateway.core.event import Decoder
from gateway.core.feed import PartitionFeed
from gateway.core.gap import GapReason
from gateway.core.interpreter import Interpreter
from gateway.core.mapping import RecordMapping, Template
from gateway.core.records import (
    Event,
    LogKind,
    Record,
    TopicPartition,
    Unreadable,
    UnreadableReason,
    make_record,
)
from gateway.core.registry import Registry
from gateway.core.source import Source, Topic
from gateway.core.values import ReadAhead, Values
from tests.core.workers import Faults, SilentObserver

LOG = TopicPartition("user-events", 1)
TYPE = (("event_type", b"import.progress"),)


@pytest.fixture
def observer() -> SilentObserver:
    return SilentObserver()


@pytest.fixture
def interpreter(observer: SilentObserver) -> Interpreter:
    return Interpreter(Decoder(Registry.built_in()), observer, Faults().contain)


@pytest.fixture
def feed() -> PartitionFeed:
    return PartitionFeed(LOG, Topic("user-events", LogKind.USER, b"tagA", 3))


def record(
    offset: int, key: bytes | None = b"a", headers: tuple[tuple[str, bytes], ...] = TYPE
) -> Record:
    return make_record(offset, 1000, key, b"{}", headers)


def test_a_record_is_decoded_once_and_drops_value_and_headers(
    interpreter: Interpreter, feed: PartitionFeed
) -> None:
    one = record(7)
    event = interpreter.decode(feed, one)
    assert event == Event("import.progress", "import", b"event: import.progress\ndata: {}\n\n")
    assert (one.value, one.headers) == (None, ())
    assert interpreter.decode(feed, one) is event


def test_an_unreadable_record_is_reported_once(
    interpreter: Interpreter, feed: PartitionFeed, observer: SilentObserver
) -> None:
    bad = record(7, headers=())
    assert interpreter.decode(feed, bad) is None
    assert interpreter.decode(feed, bad) is None
    assert observer.unreadables == [(LOG, 7, UnreadableReason.WRONG_SHAPE)]


def test_a_type_without_a_category_is_decoded_and_reported(
    interpreter: Interpreter, feed: PartitionFeed, observer: SilentObserver
) -> None:
    event = interpreter.decode(feed, record(7, headers=(("event_type", b"new.type"),)))
    assert event is not None
    assert event.category is None
    assert observer.unknown_types == ["new.type"]


def test_a_broadcast_needs_no_key(interpreter: Interpreter) -> None:
    feed = PartitionFeed(TopicPartition("all", 0), Topic("all", LogKind.BROADCAST, b"tagA", 1))
    assert interpreter.decode(feed, record(7, key=None)) is not None
    assert interpreter.decode(feed, record(8, key=b"\xff")) is not None


def test_a_record_is_decoded_by_the_mapping_of_its_source(interpreter: Interpreter) -> None:
    mapping = RecordMapping(Template.parse("order.{header:event_type}"))
    source = Source("orders", LogKind.USER, mapping=mapping)
    feed = PartitionFeed(
        LOG, Topic("orders", LogKind.USER, b"tagA", 1, key=source.key, source=source)
    )
    event = interpreter.decode(feed, record(7))
    assert event is not None
    assert event.event_type == "order.import.progress"


class Answers:
    """Values of records, by offset: JSON, or why the record cannot be read."""

    def __init__(self, answers: dict[int, bytes | Unreadable]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, int]] = []

    def read(self, topic: str, record: Record) -> bytes | Unreadable:
        self.asked.append((topic, record.offset))
        return self.answers[record.offset]


def test_value_is_read_before_its_record_is_decoded(
    observer: SilentObserver, feed: PartitionFeed
) -> None:
    mismatch = Unreadable(UnreadableReason.SCHEMA_MISMATCH)
    values = Answers({7: b'{"n":1}', 8: mismatch})
    decoder = Decoder(Registry.built_in())
    interpreter = Interpreter(decoder, observer, Faults().contain, values)
    event = interpreter.decode(feed, record(7))
    assert event is not None
    assert event.body == b'event: import.progress\ndata: {"n":1}\n\n'
    assert interpreter.decode(feed, record(8)) is None
    empty = make_record(9, 1000, b"a", b"", TYPE)
    assert interpreter.decode(feed, empty) is None
    assert values.asked == [("user-events", 7), ("user-events", 8)]
    assert observer.unreadables == [
        (LOG, 8, UnreadableReason.SCHEMA_MISMATCH),
        (LOG, 9, UnreadableReason.EMPTY),
    ]
    assert observer.gaps == []


def test_record_without_its_schema_becomes_a_gap_once(
    observer: SilentObserver, feed: PartitionFeed
) -> None:
    values = Answers({7: Unreadable(UnreadableReason.SCHEMA_UNAVAILABLE)})
    decoder = Decoder(Registry.built_in())
    interpreter = Interpreter(decoder, observer, Faults().contain, values)
    one = record(7)
    for _ in range(2):
        event = interpreter.decode(feed, one)
        assert event is not None
        assert event.body == (
            b'event: stream.gap\ndata: {"reason":"schema","log":"user","partition":1,"from":7,'
            b'"to":8,"since":"1970-01-01T00:00:01.000Z"}\n\n'
        )
    assert observer.gaps == [GapReason.SCHEMA]
    assert observer.unreadables == [(LOG, 7, UnreadableReason.SCHEMA_UNAVAILABLE)]
    assert observer.unknown_types == []


class Taken:
    """Takes skipped records; raises if `broken`."""

    def __init__(self, broken: bool) -> None:
        self.broken = broken
        self.taken: list[tuple[int, bytes | None, UnreadableReason]] = []

    def add(
        self, log: TopicPartition, record: Record, value: bytes | None, why: Unreadable
    ) -> None:
        self.taken.append((record.offset, value, why.reason))
        if self.broken:
            raise ZeroDivisionError


@pytest.mark.parametrize("broken", [False, True])
def test_skipped_record_is_passed_on_once_with_its_value_as_it_was_read(
    observer: SilentObserver, feed: PartitionFeed, broken: bool
) -> None:
    values, taken, faults = Answers({7: b"{}", 8: b"not JSON"}), Taken(broken), Faults()
    faults.tolerant = broken
    decoder = Decoder(Registry.built_in())
    interpreter = Interpreter(decoder, observer, faults.contain, values, taken)
    assert interpreter.decode(feed, record(7)) is not None
    bad = make_record(8, 1000, b"a", b"\0framed")
    for _ in range(2):
        assert interpreter.decode(feed, bad) is None
    assert taken.taken == [(8, b"\0framed", UnreadableReason.NOT_JSON)]
    assert observer.unreadables == [(LOG, 8, UnreadableReason.NOT_JSON)]


class Uppercase(Values):
    """Reads values as upper case text, except those of offset 9."""

    def read(self, topic: str, record: Record) -> bytes | Unreadable:
        assert topic == "user-events"
        if record.offset == 9:
            return Unreadable(UnreadableReason.WRONG_SHAPE, "no schema")
        return (record.value or b"").upper()


def test_values_are_read_before_they_are_decoded(
    interpreter: Interpreter, feed: PartitionFeed, observer: SilentObserver
) -> None:
    interpreter._values = Uppercase()  # noqa: SLF001
    one, nine = (make_record(n, 1000, b"a", b'"x"', TYPE) for n in (8, 9))
    event = interpreter.decode(feed, one)
    assert event is not None
    assert event.body.endswith(b'data: "X"\n\n')
    assert interpreter.decode(feed, nine) is None
    assert observer.unreadables == [(LOG, 9, UnreadableReason.WRONG_SHAPE)]


def test_values_that_were_read_ahead_are_not_read_again(
    interpreter: Interpreter, feed: PartitionFeed, observer: SilentObserver
) -> None:
    taken = Taken(broken=False)
    interpreter._values = Uppercase()  # noqa: SLF001
    interpreter._skipped = taken  # noqa: SLF001
    one, two = (make_record(n, 1000, b"a", b'"raw"', TYPE) for n in (8, 9))
    one.value = ReadAhead(b'"raw"', b'"read ahead"')
    two.value = ReadAhead(b'"raw"', Unreadable(UnreadableReason.TOO_LARGE))
    event = interpreter.decode(feed, one)
    assert event is not None
    assert event.body.endswith(b'data: "read ahead"\n\n')
    assert interpreter.decode(feed, two) is None
    assert observer.unreadables == [(LOG, 9, UnreadableReason.TOO_LARGE)]
    assert taken.taken == [(9, b'"raw"', UnreadableReason.TOO_LARGE)]
