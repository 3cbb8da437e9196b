from __future__ import annotations

from gateway.core.records import Event, Moment, Record, TopicPartition, make_record
from gateway.ops.latest import EACH_CATEGORY, MAX_CATEGORIES, NEWEST, Latest

LOG = TopicPartition("user-events", 3)
NOW = Moment(50.0, 1_700_000_000_000)


def record(offset: int, category: str | None = "import", *, key: bytes | None = b"alice") -> Record:
    """Return a record that was delivered 40 ms after its timestamp."""
    made = make_record(offset, NOW.wall - 40, key, b"the secret")
    made.event = Event("import.completed", category, b"event: import.completed\ndata: secret\n\n")
    return made


def watched() -> Latest:
    latest = Latest(lambda user: f"name of {len(user)}")
    latest.watched = True
    return latest


def test_an_event_is_shown_without_its_payload_and_its_user() -> None:
    latest = watched()
    latest.dispatched({LOG: [record(7)]}, NOW)
    [event] = latest.drain()
    assert (event.at, event.type, event.category) == (NOW.wall, "import.completed", "import")
    assert (event.topic, event.partition, event.offset) == ("user-events", 3, 7)
    assert (event.user, event.bytes, event.latency_ms) == ("name of 5", 38, 40)
    assert "secret" not in repr(event)
    assert latest.drain() == []


def test_nothing_is_collected_without_watchers() -> None:
    latest = watched()
    latest.watched = False
    latest.dispatched({LOG: [record(7)]}, NOW)
    assert latest.drain() == []


def test_undelivered_record_is_not_decoded() -> None:
    latest = watched()
    latest.dispatched({LOG: [make_record(1, 0, b"bob", b"{}")]}, NOW)
    assert latest.drain() == []


def test_broadcast_has_an_empty_user_and_a_future_timestamp_zero_latency() -> None:
    latest = watched()
    early = record(7, key=None)
    early.timestamp = NOW.wall + 5000
    latest.dispatched({LOG: [early]}, NOW)
    [event] = latest.drain()
    assert (event.user, event.latency_ms) == ("", 0)


def test_each_category_has_room_for_its_newest_few() -> None:
    latest = watched()
    for start in (0, 100):
        latest.dispatched({LOG: [record(start + n) for n in range(20)]}, NOW)
    latest.dispatched({LOG: [record(200, "security")]}, NOW)
    latest.dispatched({LOG: [record(300, None)]}, NOW)
    found = latest.drain()
    assert sorted(event.offset for event in found) == [116, 117, 118, 119, 200, 300]
    assert EACH_CATEGORY == 4


def test_what_it_costs_and_holds_is_bounded() -> None:
    latest = watched()
    latest.dispatched({LOG: [record(0, "rare"), *[record(n) for n in range(NEWEST)]]}, NOW)
    assert {event.category for event in latest.drain()} == {"import"}
    for number in range(MAX_CATEGORIES + 10):
        latest.dispatched({LOG: [record(number, f"made up {number}")]}, NOW)
    assert len(latest.drain()) == MAX_CATEGORIES
