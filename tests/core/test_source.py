from __future__ import annotations

from binascii import a2b_base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.records import LogKind
from gateway.core.source import KeyTemplate, Source, name_mark, simple_sources

names = st.binary(min_size=1, max_size=12)
literals = st.binary(max_size=6)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("{user}", b"alice"),
        ("customer:{user}", b"customer:alice"),
        ("{user}@shop", b"alice@shop"),
        ('{"id":"{user}"}', b'{"id":"alice"}'),
        ("käufer/{user}", "käufer/alice".encode()),
    ],
)
def test_a_key_template_writes_and_reads_a_key(text: str, key: bytes) -> None:
    template = KeyTemplate.parse(text, "{user}")
    assert template.key(b"alice") == key
    assert template.name(key) == b"alice"


@pytest.mark.parametrize("text", ["", "customer", "{group}", "{user", "customer:{ user }"])
def test_a_key_template_without_its_placeholder_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"has no \{user\}; write it where"):
        KeyTemplate.parse(text, "{user}")


def test_a_key_template_with_its_placeholder_twice_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"has \{user\} twice"):
        KeyTemplate.parse("{user}:{user}", "{user}")


@given(literals, literals, names)
def test_a_key_holds_the_name_it_was_made_from(prefix: bytes, suffix: bytes, name: bytes) -> None:
    template = KeyTemplate(prefix, suffix)
    assert template.name(template.key(name)) == name


@given(literals, literals, st.binary(max_size=20))
def test_a_name_read_from_a_key_makes_that_key(prefix: bytes, suffix: bytes, key: bytes) -> None:
    template = KeyTemplate(prefix, suffix)
    name = template.name(key)
    assert name is None or (name and template.key(name) == key)


@pytest.mark.parametrize("key", [b"", b"a", b"a-", b"-a", b"aa", b"b-x-a", b"a-x-b"])
def test_a_key_that_does_not_match_the_template_names_no_user(key: bytes) -> None:
    assert KeyTemplate(b"a-", b"-a").name(key) is None
    assert KeyTemplate(b"aa", b"aa").name(b"aaa") is None, "prefix and suffix overlap"


def test_an_empty_name_is_no_name() -> None:
    assert KeyTemplate().name(b"") is None
    assert KeyTemplate(b"customer:").name(b"customer:") is None


@given(st.text(st.sampled_from("abcXYZ019._-"), min_size=1, max_size=30))
def test_a_name_mark_is_a_base64url_character_and_a_byte(topic: str) -> None:
    mark = name_mark(topic)
    assert len(mark) == 2
    assert len(a2b_base64(mark[:1].translate(bytes.maketrans(b"-_", b"+/")) * 4)) == 3
    assert Source(topic, LogKind.USER).mark == mark


def test_name_marks_differ_in_14_bits() -> None:
    marks = {name_mark(f"topic-{number}") for number in range(200_000)}
    assert len(marks) == 1 << 14
    # Marks are part of event ids, so their values never change.
    assert name_mark("orders.v1") == b"1\x98"


def test_without_configured_sources_there_is_one_for_users_and_one_for_broadcasts() -> None:
    assert simple_sources("user-events", "broadcast-events") == (
        Source("user-events", LogKind.USER, partitions=12),
        Source("broadcast-events", LogKind.BROADCAST, partitions=1),
    )
    assert simple_sources("events", "") == (Source("events", LogKind.USER),)
