"""Event ids: each cursor has one accepted text, and no id exposes other users' events."""

from __future__ import annotations

from gateway.core.event_id import MAX_ENTRIES, MAX_LENGTH, CursorEntry, encode, parse
from gateway.core.records import (
    TIMESTAMP_LIMIT,
    LogKind,
    OffsetPosition,
    Position,
    TimePosition,
    TopicPartition,
)
from gateway.errors import EventIdError
from tests.core.stage import Stage
from tests.core.world import USER_TOPIC, by_first_byte
from tests.tools.fuzz.target import Target, as_header, joined, parts

USERS = (b"a", b"b", b"c")
"""With two partitions, the first and last user share one."""

_NOW = Stage().world.now


def _marks() -> list[list[CursorEntry]]:
    places: list[Position] = [
        OffsetPosition(3, _NOW, True),
        OffsetPosition(0, 0, False),
        TimePosition(_NOW),
        OffsetPosition(1 << 62, 5, True),
    ]
    single = [
        [CursorEntry(kind, tag, partition, place)]
        for kind in (LogKind.USER, LogKind.BROADCAST)
        for tag in (b"tagA", b"else")
        for partition in (0, 1, 7)
        for place in places
    ]
    return [*single, [*single[0], *single[4], *single[-1]], [*single[0], *single[-12]]]


_IDS = [encode(marks) for marks in _marks() if len({mark[:3:2] for mark in marks}) == len(marks)]


def _parse(data: bytes) -> None:
    text = as_header(data)
    try:
        marks = parse(text)
    except EventIdError as error:
        assert len(str(error)) < 100, "a message contains client text"
        return
    assert encode(marks).decode() == text, "one text for one cursor"
    assert len(marks) <= MAX_ENTRIES
    assert marks or text == "2", "an id without an entry: its user had no partition"
    assert len(text) <= MAX_LENGTH
    for mark in marks:
        assert 0 <= mark.position.timestamp < TIMESTAMP_LIMIT
        assert 0 <= mark.partition < 1 << 24
        assert isinstance(mark.position, TimePosition) or 0 <= mark.position.offset < 1 << 63


def _resume(data: bytes) -> None:
    """Connect with any id to a worker with events of others; the client checks every event."""
    given, since, how = parts(data, 3)
    stage = Stage(partitions=2)
    before = [stage.client(user=user) for user in USERS]
    for client in before:
        stage.connect(client)
    for user in USERS * 3:
        stage.write(key=user, log=_log_of(user))
    stage.broadcast(2)
    if b"w" in how:
        stage.replace_worker()
    start = int(since) if since.isdigit() and len(since) < 15 else None
    client = stage.client(user=USERS[len(how) % 3], since=start)
    client.rogue = True
    client.last_id = as_header(given)
    stage.connect(client)
    stage.write(key=client.user, log=_log_of(client.user))
    stage.broadcast()
    stage.worker.settle()
    own = 3 + 1 + 3
    assert len(client.received) == len(set(client.received)) <= own, "each event once"
    assert len(client.gaps) <= 2 * MAX_ENTRIES
    if client.last_id:
        parse(client.last_id)


def _log_of(user: bytes) -> TopicPartition:
    return TopicPartition(USER_TOPIC, by_first_byte(user, 2))


EVENT_ID = Target(
    "event id", _parse, [*_IDS, b"", b"1", b"1u" + b"-" * 28], [b"u", b"b", *_IDS[:2]]
)
RESUME = Target(
    "resume",
    _resume,
    [joined(text, b"", how) for text in _IDS for how in (b"", b"ww")]
    + [joined(b"", b"%d" % _NOW, b"1"), joined(b"nonsense", b"0", b"w")],
    [*_IDS[:4], b"w", b"\xff"],
)
