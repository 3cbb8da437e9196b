from __future__ import annotations

import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.core import event_id
from gateway.core.event_id import MAX_ENTRIES, MAX_LENGTH, CursorEntry
from gateway.core.records import LogKind, OffsetPosition, Position, TimePosition
from gateway.errors import EventIdError

BASE64URL = string.ascii_letters + string.digits + "-_"

timestamps = st.integers(0, (1 << 47) - 1)
offsets = st.integers(0, (1 << 63) - 1)
positions: st.SearchStrategy[Position] = st.builds(
    OffsetPosition, offsets, timestamps, st.booleans()
) | (st.builds(TimePosition, timestamps))
entries = st.lists(
    st.builds(
        CursorEntry,
        st.sampled_from([LogKind.USER, LogKind.BROADCAST]),
        st.binary(min_size=4, max_size=4),
        st.integers(0, (1 << 24) - 1),
        positions,
    ),
    min_size=1,
    max_size=MAX_ENTRIES,
    unique_by=lambda entry: (entry.kind, entry.partition),
)

USER = CursorEntry(LogKind.USER, b"\1\2\3\4", 0x010203, OffsetPosition(5, 1_700_000_000_000, True))
BROADCAST = CursorEntry(LogKind.BROADCAST, b"\xff" * 4, 0, TimePosition(0))
ONE = event_id.encode([USER]).decode()
TWO = event_id.encode([USER, BROADCAST]).decode()
THREE = event_id.encode([USER, BROADCAST, USER._replace(partition=9)]).decode()


def raw(packed: bytes, kind: str = "u") -> str:
    """Return an id with one entry of 21 bytes, encoded independently."""
    number = int.from_bytes(packed, "big")
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    return f"1{kind}" + "".join(alphabet[number >> 6 * i & 63] for i in reversed(range(28)))


@given(entries)
def test_an_encoded_id_is_parsed_to_the_same_entries(written: list[CursorEntry]) -> None:
    text = event_id.encode(written).decode()
    assert event_id.parse(text) == written
    assert len(text) == 1 + 29 * len(written) <= MAX_LENGTH
    assert set(text) <= set(BASE64URL)


@given(st.text(BASE64URL, min_size=28, max_size=28), st.sampled_from("ub"))
def test_every_accepted_text_is_the_canonical_id_of_its_cursor(body: str, kind: str) -> None:
    text = f"1{kind}{body}"
    try:
        parsed = event_id.parse(text)
    except EventIdError:
        assume(False)
    assert event_id.encode(parsed).decode() == text


@given(st.text() | st.text(BASE64URL + "=+/ \r\n\0é", max_size=MAX_LENGTH + 5))
def test_parse_raises_only_event_id_error(text: str) -> None:
    with pytest.raises(EventIdError):
        event_id.parse(text)


@given(entries, st.data())
def test_a_damaged_id_is_never_parsed_to_the_same_entries(
    written: list[CursorEntry], data: st.DataObject
) -> None:
    text = event_id.encode(written).decode()
    at = data.draw(st.integers(0, len(text) - 1))
    damaged = text[:at] + data.draw(st.characters()) + text[at + 1 :]
    assume(damaged != text)
    try:
        parsed = event_id.parse(damaged)
    except EventIdError:
        return
    assert parsed != written


@given(entries, st.integers(0, MAX_LENGTH))
def test_a_truncated_id_is_invalid_or_a_prefix(written: list[CursorEntry], length: int) -> None:
    text = event_id.encode(written).decode()
    assume(length < len(text))
    try:
        parsed = event_id.parse(text[:length])
    except EventIdError:
        return
    assert parsed == written[: len(parsed)]


def test_the_layout_is_as_documented() -> None:
    packed = bytes.fromhex("01020304 010203 0000000000000005") + (
        1_700_000_000_000 << 1 | 1
    ).to_bytes(6, "big")
    assert raw(packed) == ONE
    by_time = b"\xff" * 4 + bytes(3) + b"\xff" * 8 + bytes(6)
    assert ONE + raw(by_time, "b")[1:] == TWO


@pytest.mark.parametrize("cursor", [[], [USER] * (MAX_ENTRIES + 1)])
def test_an_id_has_one_to_three_entries(cursor: list[CursorEntry]) -> None:
    with pytest.raises(AssertionError, match="1 to 3 entries"):
        event_id.encode(cursor)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "has 30, 59 or 88 characters"),
        ("1", "has 30, 59 or 88 characters"),
        (ONE[:-1], "has 30, 59 or 88 characters"),
        (ONE + "A", "has 30, 59 or 88 characters"),
        (THREE + ONE[1:].replace("A", "B"), "has 30, 59 or 88 characters"),
        ("1" * 1_000_000, "has 30, 59 or 88 characters"),
        ("2" + ONE[1:], "begins with its version"),
        ("\u0661" + ONE[1:], "begins with its version"),
        ("1x" + ONE[2:], "begins with u or b"),
        ("1U" + ONE[2:], "begins with u or b"),
        (ONE[:-1] + "=", "base64url"),
        (ONE[:-1] + "+", "base64url"),
        (ONE[:-1] + "\n", "base64url"),
        (ONE[:-1] + "\u0661", "base64url"),
        (ONE[:-1] + "\ud800", "base64url"),
        (ONE + ONE[1:], "has one entry for each partition"),
        (TWO + BROADCAST.kind[0] + TWO[31:], "has one entry for each partition"),
        (raw(bytes(7) + b"\xff" * 8 + bytes(5) + b"\1"), "cannot have a previous record"),
        (raw(bytes(7) + b"\x80" + bytes(7) + bytes(6)), "an offset has 63 bits"),
        (raw(bytes(7) + b"\xff" * 7 + b"\xfe" + bytes(6)), "an offset has 63 bits"),
    ],
)
def test_an_invalid_id_is_rejected_with_this_message(text: str, complaint: str) -> None:
    with pytest.raises(EventIdError, match=complaint):
        event_id.parse(text)


def test_each_topic_of_each_cluster_has_a_different_tag() -> None:
    tags = {
        event_id.incarnation_tag(cluster, topic)
        for cluster, topic in [("c", "user-events"), ("c", "other"), ("d", "user-events"), ("", "")]
    }
    assert len(tags) == 4
    assert {len(tag) for tag in tags} == {4}
    assert event_id.incarnation_tag("c", "user-events").hex() == "c4147970"
