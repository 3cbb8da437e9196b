from __future__ import annotations

import re
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.core import event_id
from gateway.core.event_id import (
    FORM,
    FORM_2,
    MAX_ENTRIES,
    MAX_ENTRIES_2,
    MAX_LENGTH,
    MAX_LENGTH_2,
    CursorEntry,
    Version,
)
from gateway.core.records import LogKind, OffsetPosition, Position, TimePosition, make_record
from gateway.core.source import Topic
from gateway.errors import EventIdError

BASE64URL = string.ascii_letters + string.digits + "-_"

timestamps = st.integers(0, (1 << 47) - 1)
offsets = st.integers(0, (1 << 63) - 1)
positions: st.SearchStrategy[Position] = st.builds(
    OffsetPosition, offsets, timestamps, st.booleans()
) | (st.builds(TimePosition, timestamps))
entries_1 = st.lists(
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
tags_2 = st.builds(
    lambda letter, rest: letter.encode() + rest,
    st.sampled_from(BASE64URL),
    st.binary(min_size=4, max_size=4),
)
positions_2: st.SearchStrategy[Position] = st.builds(
    OffsetPosition, st.integers(0, (1 << 48) - 2), timestamps, st.booleans()
) | st.builds(TimePosition, timestamps)
entries_2 = st.lists(
    st.builds(CursorEntry, st.none(), tags_2, st.integers(0, (1 << 16) - 1), positions_2),
    max_size=MAX_ENTRIES_2,
    unique_by=lambda entry: (entry.mark, entry.partition),
)
entries = entries_1 | entries_2

USER = CursorEntry(LogKind.USER, b"\1\2\3\4", 0x010203, OffsetPosition(5, 1_700_000_000_000, True))
BROADCAST = CursorEntry(LogKind.BROADCAST, b"\xff" * 4, 0, TimePosition(0))
ONE = event_id.encode([USER]).decode()
TWO = event_id.encode([USER, BROADCAST]).decode()
SHORT = CursorEntry(None, b"Q\1\2\3\4", 0x0102, OffsetPosition(5, 1_700_000_000_000, True))
SHORT_ID = event_id.encode([SHORT]).decode()
THREE = event_id.encode([USER, BROADCAST, USER._replace(partition=9)]).decode()


def raw(packed: bytes, letter: str = "u", version: str = "1") -> str:
    """Return an id with one entry of 21 or 18 bytes, encoded independently."""
    number = int.from_bytes(packed, "big")
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    length = len(packed) * 4 // 3
    return f"{version}{letter}" + "".join(
        alphabet[number >> 6 * i & 63] for i in reversed(range(length))
    )


def expected_length(written: list[CursorEntry]) -> int:
    return 1 + (29 if written and written[0].kind else 25) * len(written)


@given(entries)
def test_an_encoded_id_is_parsed_to_the_same_entries(written: list[CursorEntry]) -> None:
    text = event_id.encode(written).decode()
    assert event_id.parse(text) == written
    assert len(text) == expected_length(written)
    assert len(text) <= (MAX_LENGTH if text[0] == "1" else MAX_LENGTH_2)
    assert re.match(FORM if text[0] == "1" else FORM_2, text)
    assert set(text) <= set(BASE64URL)


@given(
    st.builds("1{}{}".format, st.sampled_from("ub"), st.text(BASE64URL, min_size=28, max_size=28))
    | st.builds("2{}".format, st.text(BASE64URL, min_size=25, max_size=25))
)
def test_every_accepted_text_is_the_canonical_id_of_its_cursor(text: str) -> None:
    try:
        parsed = event_id.parse(text)
    except EventIdError:
        assume(False)
    assert event_id.encode(parsed).decode() == text


@given(st.text() | st.text(BASE64URL + "=+/ \r\n\0é", max_size=MAX_LENGTH + 5))
def test_parse_raises_only_event_id_error(text: str) -> None:
    assume(text != "2")  # the id of a stream without partitions
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


@pytest.mark.no_cover
@given(entries, st.integers(0, MAX_LENGTH_2))
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


def test_the_layout_of_version_2_is_as_documented() -> None:
    moment = (1_700_000_000_000 << 1 | 1).to_bytes(6, "big")
    packed = bytes.fromhex("01 020304 0102 000000000005") + moment
    assert raw(packed, "Q", "2") == SHORT_ID
    assert len(SHORT_ID) == 26
    by_time = event_id.encode([SHORT._replace(position=TimePosition(0))]).decode()
    assert by_time == raw(packed[:6] + b"\xff" * 6 + bytes(6), "Q", "2")


@pytest.mark.parametrize(
    ("cursor", "complaint"),
    [
        ([USER] * (MAX_ENTRIES + 1), "0 to 3 entries"),
        ([SHORT] * (MAX_ENTRIES_2 + 1), "0 to 64 entries"),
        ([USER, SHORT], "entries of one version"),
    ],
)
def test_an_id_has_a_bounded_number_of_entries_of_one_version(
    cursor: list[CursorEntry], complaint: str
) -> None:
    with pytest.raises(AssertionError, match=complaint):
        event_id.encode(cursor)


@given(st.integers((1 << 48) - 1, (1 << 63) - 1), timestamps, st.booleans())
def test_version_2_encodes_an_offset_beyond_48_bits_by_time(
    offset: int, timestamp: int, seen: bool
) -> None:
    position = OffsetPosition(offset, timestamp, seen)
    assert event_id.parse(event_id.encode([SHORT._replace(position=position)]).decode()) == [
        SHORT._replace(position=TimePosition(timestamp))
    ]


@given(st.sampled_from([USER, SHORT]), st.integers(0, (1 << 49)), st.integers(-5, (1 << 48)))
def test_the_entry_after_a_record_equals_that_of_its_position(
    entry: CursorEntry, offset: int, timestamp: int
) -> None:
    position = OffsetPosition.after(make_record(offset, timestamp, b"k", b"v"))
    assert event_id.encode_entry_after(
        entry.kind, entry.tag, entry.partition, offset, timestamp
    ) == event_id.encode_entry(entry.kind, entry.tag, entry.partition, position)


TOPICS = [
    Topic("a", LogKind.USER, b"\1\2\3\4", 3, mark=b"A\0"),
    Topic("b", LogKind.USER, b"\5\6\7\x08", 3, mark=b"B\0"),
    Topic("n", LogKind.BROADCAST, b"\x09\6\7\x08", 1, mark=b"N\0"),
]


@pytest.mark.parametrize(
    ("entry", "topic", "current"),
    [
        (USER, "a", True),
        (USER._replace(tag=b"\5\6\7\x08"), "b", True),
        (USER._replace(tag=b"evil"), "a", False),
        (BROADCAST, "n", False),
        (SHORT._replace(tag=b"A\0\1\2\3"), "a", True),
        (SHORT._replace(tag=b"A\0\1\2\4"), "a", False),
        (SHORT._replace(tag=b"B\0\5\6\7"), "b", True),
        (SHORT._replace(tag=b"A\1\1\2\3"), None, False),
    ],
)
def test_an_entry_belongs_to_this_topic(
    entry: CursorEntry, topic: str | None, *, current: bool
) -> None:
    found = event_id.owner(entry, TOPICS)
    assert (None if found is None else found.name) == topic
    assert (found is not None and event_id.is_current(entry, found)) == current


def test_an_entry_of_version_1_has_no_owner_without_a_topic_of_its_kind() -> None:
    assert event_id.owner(BROADCAST, TOPICS[:2]) is None


@given(entries_1 | entries_2.filter(bool), st.sampled_from(Version))
def test_a_converted_foreign_entry_stays_foreign(
    written: list[CursorEntry], version: Version
) -> None:
    topic, entry = TOPICS[0], written[0]
    assume(not event_id.is_current(entry, topic))
    assume(entry.kind is None or event_id.short_tag(b"", entry.tag) != topic.tag[:3])
    if entry.kind is None:
        entry = entry._replace(tag=topic.mark + entry.tag[2:])
        assume(not event_id.is_current(entry, topic))
    converted = event_id.convert(entry, version, topic.kind, topic.mark)
    (again,) = event_id.parse(event_id.encode([converted]).decode())
    assert (again.kind is None) is (version is Version.TWO)
    assert not event_id.is_current(again, topic)
    if version is Version.TWO:
        assert event_id.owner(again, TOPICS) is topic


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "has 30, 59 or 88 characters"),
        ("1", "has 30, 59 or 88 characters"),
        (ONE[:-1], "has 30, 59 or 88 characters"),
        (ONE + "A", "has 30, 59 or 88 characters"),
        (THREE + ONE[1:].replace("A", "B"), "has 30, 59 or 88 characters"),
        ("1" * 1_000_000, "has 30, 59 or 88 characters"),
        ("3" + ONE[1:], "begins with its version"),
        ("2" + ONE[1:], "25 characters for each of at most 64"),
        (SHORT_ID[:-1], "25 characters for each of at most 64"),
        ("2" + SHORT_ID[1:] * 65, "25 characters for each of at most 64"),
        ("2" + SHORT_ID[1:] * 2, "has one entry for each partition"),
        ("2+" + SHORT_ID[2:], "begins with a letter of base64url"),
        ("2\u0661" + SHORT_ID[2:], "begins with a letter of base64url"),
        (SHORT_ID[:-1] + "=", "base64url"),
        (raw(bytes(6) + b"\xff" * 6 + bytes(5) + b"\1", "Q", "2"), "cannot have a previous record"),
        ("\u0661" + ONE[1:], "begins with its version"),
        ("1x" + ONE[2:], "begins with u or b"),
        ("1U" + ONE[2:], "begins with u or b"),
        (ONE[:-1] + "=", "base64url"),
        (ONE[:-1] + "+", "base64url"),
        (ONE[:-1] + "\n", "base64url"),
        (ONE[:-1] + "\u0661", "base64url"),
        (ONE[:-1] + "\ud800", "base64url"),
        (ONE + ONE[1:], "has one entry for each partition"),
        (TWO + "b" + TWO[31:], "has one entry for each partition"),
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
