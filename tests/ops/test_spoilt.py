"""Statuses and revocations that another writer has spoilt, driven through all that uses them."""

from __future__ import annotations

import io
import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from gateway.commands.fleet import fleet_table
from gateway.core.records import LogKind, Moment, UnreadableReason
from gateway.fleet.history import History
from gateway.fleet.issues import find_issues
from gateway.fleet.members import Fleet
from gateway.fleet.status import (
    DeliveryTimes,
    PartitionLoad,
    ShortRetention,
    Sighting,
    StatedDoubt,
    Status,
    TimeOff,
    WorkerState,
    read_status,
    write_status,
)
from gateway.ops.dashboard import DashboardFeed, workers
from gateway.ops.latest import Latest
from gateway.revocation.compaction import Digest, Written
from gateway.revocation.pending import PendingRevocations
from gateway.revocation.record import read_change, write_value
from gateway.revocation.table import Revocations
from tests.ops.test_dashboard import View

WALL = 1_700_000_000_000
LIFE = 3_600_000

FULL = Status(
    worker="w",
    number=1,
    state=WorkerState.READY,
    doubts=(StatedDoubt("kafka", "away"),),
    version="1",
    at=WALL,
    since="2026-01-02T03:04:05.000Z",
    gaps={"expired": 3},
    closes={"slow": 1},
    rejects={"unauthorized": 2},
    unreadable={"not_json": 1},
    unreadable_last=Sighting("user-events", 0, 7, "not_json"),
    mismatch_last=Sighting("user-events", 0, 7, "crc32"),
    time_off=TimeOff("user-events", 0, 7, 90),
    short_retentions=(ShortRetention("user-events", 60.0, 3600.0),),
    delivery=DeliveryTimes((0.1, 1.0), (3, 2, 1), 4.0, 0.05, 0.9),
    partitions=(PartitionLoad(LogKind.USER, 0, 1.5, 2, 3),),
)

numbers = st.sampled_from(
    [0, -1, 1, 0.5, 1e-300, 1e30, 1e31, 1e308, 2**47, 2**53, 2**63 - 1, 2**63, 10**40]
)
texts = st.sampled_from(["", "ready", "gone", "resting", "x" * 300, "\ud83d", "\x1b[2J", "é[b]"])
scalars = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts | st.just("counts"), inner, max_size=3)
    ),
    max_leaves=8,
)


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths to all values of a JSON document."""
    found = [path] if path else []
    if isinstance(document, dict):
        for name in document:
            found += places(document[name], (*path, name))
    elif isinstance(document, list):
        for index in range(len(document)):
            found += places(document[index], (*path, index))
    return found


PLACES = places(json.loads(write_status(FULL)))


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """A status with a few values replaced, removed or added."""
    document: Any = json.loads(write_status(FULL))
    for _ in range(draw(st.integers(0, 3))):
        *path, last = draw(st.sampled_from(PLACES))
        inner = document
        try:
            for step in path:
                inner = inner[step]
            if draw(st.booleans()):
                inner[last] = draw(values)
            else:
                del inner[last]
        except (TypeError, KeyError, IndexError):
            continue
    if isinstance(document, dict):
        document.update(draw(st.dictionaries(st.sampled_from(["news", "later"]), values)))
        document["number"] = draw(st.integers(1, 3) | numbers)
    return json.dumps(document).encode()


@given(st.lists(st.tuples(st.sampled_from(["w", "", "v"]), spoilt(), st.booleans()), max_size=6))
def test_no_status_that_was_read_makes_the_fleet_its_board_or_its_table_fail(
    records: list[tuple[str, bytes, bool]],
) -> None:
    fleet, history = Fleet("own"), History()
    board = DashboardFeed("own", View(fleet), Latest(lambda _: ""), str, "")
    for turn, (key, value, whole) in enumerate(records):
        now = 3.0 * turn
        own = msgspec.structs.replace(FULL, worker="own", number=turn)
        fleet.set_own(own)
        fleet.apply(own, now, whole=True)
        status = read_status(key.encode(), value)
        if status is not None:
            assert read_status(key.encode(), write_status(status)) == status
            fleet.apply(status, now, whole=whole)
        sample = history.add_sample(fleet.members(now), WALL + 3000 * turn)
        board.sample()
        found = find_issues(fleet.members(now), history, WALL, "a problem", str)
        shown = workers(fleet, now)
        for answer in (sample, found, shown):
            json.loads(msgspec.json.encode(answer), parse_constant=_no_constant)
        Console(file=io.StringIO()).print(fleet_table(json.loads(msgspec.json.encode(shown))))
        fleet.forget()


def _no_constant(name: str) -> float:
    raise AssertionError(f"{name} is not JSON")


keys = st.sampled_from([None, b"", b"session:", b"session:s", b"user:alice", b"user:\xff", b"x"])
revocation_fields = st.fixed_dictionaries(
    {},
    optional={
        "user_id": scalars | st.sampled_from(["alice", "bob"]),
        "revoked_at": scalars | st.sampled_from([WALL, WALL + 1]),
        "expires_at": scalars | st.sampled_from([WALL + 1, WALL + LIFE]),
        "news": values,
    },
)
revocation_values = (
    st.none()
    | st.binary(max_size=20)
    | revocation_fields.map(lambda fields: json.dumps(fields).encode())
)


@given(
    st.lists(
        st.tuples(keys, revocation_values, st.sampled_from([-1, 0, WALL, 2**62, -(2**62)])),
        max_size=8,
    )
)
def test_no_revocation_that_was_read_makes_the_table_or_its_writer_fail(
    records: list[tuple[bytes | None, bytes | None, int]],
) -> None:
    table, digest, pending = Revocations(), Digest(), PendingRevocations(2)
    for key, value, timestamp in records:
        change = read_change(key, value, timestamp, LIFE)
        if isinstance(change, UnreadableReason):
            continue
        if change.revocation is not None:
            write_value(change.revocation)
        digest.add(Written(change, 0, timestamp), table, WALL)
        pending.add(change, 0.0)
    for written in digest.drain():
        table.apply(written.change, written.timestamp)
        pending.seen(written.change)
    for issued_at in (None, 0.0, 1e30, WALL / 1000):
        table.cover(b"alice", "s", issued_at, WALL)
    table.discard_expired(Moment(1e9, WALL), LIFE)
    pending.next(Moment(1e9, WALL))
