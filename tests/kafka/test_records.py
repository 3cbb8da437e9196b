from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from gateway.core.log import Log, make_record
from gateway.kafka.records import log_name, to_records


class Fetched(NamedTuple):
    """What aiokafka's records have that is looked at."""

    offset: int = 7
    timestamp: int = 1_700_000_000_000
    key: bytes | None = b"alice"
    value: bytes | None = b"{}"
    headers: Any = ()


def test_records_are_turned_into_the_cores_in_their_order() -> None:
    fetched = [Fetched(offset=offset) for offset in (3, 4, 9)]
    assert to_records(fetched) == [
        make_record(offset, 1_700_000_000_000, b"alice", b"{}") for offset in (3, 4, 9)
    ]
    assert to_records([]) == []


@pytest.mark.parametrize(("key", "value"), [(None, b"{}"), (b"", b""), (b"\xff", None)])
def test_keys_and_values_are_kept_as_they_are(key: bytes | None, value: bytes | None) -> None:
    (record,) = to_records([Fetched(key=key, value=value)])
    assert (record.key, record.value) == (key, value)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((), ()),
        ([], ()),
        (None, ()),
        ([("event_type", b"a.b")], (("event_type", b"a.b"),)),
        ((("a", b"1"), ("a", b"2")), (("a", b"1"), ("a", b"2"))),
        ([("a", None), ("b", b"")], (("a", b""), ("b", b""))),
    ],
)
def test_headers_keep_their_order_and_one_without_a_value_is_empty(
    headers: Any, expected: tuple[tuple[str, bytes], ...]
) -> None:
    (record,) = to_records([Fetched(headers=headers)])
    assert record.headers == expected


def test_a_record_is_counted_with_its_headers() -> None:
    plain, rich = to_records([Fetched(), Fetched(headers=[("name", b"content")])])
    assert rich.size > plain.size


def test_a_log_is_named_as_kafkas_own_tools_name_it() -> None:
    assert log_name(Log("user-events", 3)) == "user-events-3"
