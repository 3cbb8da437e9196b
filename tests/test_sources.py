from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Settings, load_settings
from gateway.core.mapping import RecordMapping, Template
from gateway.core.records import LogKind
from gateway.core.source import KeyTemplate, Source, ValueFormat, name_mark
from gateway.errors import SettingsError
from gateway.event_types import load_registry
from gateway.kafka.topics import topic_specs
from gateway.sources import KEYS, MAX_SOURCES, fixed_categories, load_sources, parse_sources

FULL = """\
# Topics of the shop.
[[source]]
topic = "news"
audience = "all"
type = "{field:kind}"
data = "field:payload"

[[source]]
topic = "orders.v1"
key = "customer:{user}"
type = "order.{header:kind}"
category = "orders"
data = "value"
partitions = 3

[[source]]
topics = ["teams.a", "teams.b"]
audience = "group"
key = "{group}@shop"
groups = "realm_access.teams"
type = "team"

[[source]]
topic = "plain"
format = "avro"
"""


def one(**keys: object) -> str:
    """Return the TOML of one source."""
    values = {"topic": "'orders'", **keys}
    lines = [f"{name} = {value}" for name, value in values.items() if value is not None]
    return "\n".join(["[[source]]", *lines])


def refusal(text: str) -> str:
    with pytest.raises(SettingsError) as refused:
        parse_sources(text, "FILE")
    return str(refused.value)


def test_sources_are_in_the_order_of_the_file_and_those_for_all_last() -> None:
    teams = Source("teams.a", LogKind.GROUP, KeyTemplate(b"", b"@shop"), "realm_access.teams")
    team = RecordMapping(Template.parse("team"))
    assert parse_sources(FULL) == (
        Source(
            "orders.v1",
            LogKind.USER,
            KeyTemplate(b"customer:"),
            mapping=RecordMapping(Template.parse("order.{header:kind}"), Template.parse("orders")),
            partitions=3,
        ),
        teams._replace(mapping=team),
        teams._replace(topic="teams.b", mapping=team),
        Source("plain", LogKind.USER, format=ValueFormat.AVRO),
        Source(
            "news",
            LogKind.BROADCAST,
            mapping=RecordMapping(Template.parse("{field:kind}"), None, "payload"),
            partitions=1,
        ),
    )


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[[source]", "FILE: is not valid TOML"),
        ("", "FILE: has no sources; write for each topic a table that begins with a line"),
        ("[source]\ntopic = 'a'", "[[source]], with two brackets"),
        ("source = ['a']", "has no sources"),
        ("topic = 'a'", "unknown key 'topic'; write everything under [[source]]"),
        (one(topic=None), '[[source]] 1 (line 1): topic: write either topic = "NAME" or topics'),
        (one(topics="['b']"), "topic: write either"),
        (one(topic="''"), "[[source]] 1 (line 2): topic: '' is not a topic name; Kafka allows"),
        (one(topic="'a b'"), "is not a topic name"),
        (one(topic="7"), "7 is not a topic name; write it in quotes"),
        (one(topic=None, topics="[]"), "topics: [] is not a topic name"),
        (one(topic=None, topics="'a'"), ""),
        (one(audience="'everyone'"), "'everyone' is not one; write user, group or all"),
        (one(audience="3"), "audience: 3 is not text; write it in quotes"),
        (one(key="'customer'"), "key: 'customer' has no {user}; write it where the key holds"),
        (one(key="'{user}{user}'"), "has {user} twice"),
        (one(audience="'all'", key="'{user}'"), "keys are ignored with the audience all; remove"),
        (one(audience="'group'"), "groups: is missing; name the claim"),
        (one(audience="'group'", groups="'t'", key="'{user}'"), "has no {group}"),
        (one(groups="'t'"), 'only the audience group has groups; write audience = "group"'),
        (one(type="'{kind}'"), "(line 3): type: '{kind}' has a brace that belongs to no"),
        (one(type="''"), "type: '' is empty; write fixed text"),
        (one(type="'stream.gap'"), "types that begin with stream. are reserved; rename it"),
        (one(type="'stream.{header:x}'"), "types that begin with stream. are reserved"),
        (one(type="'a\\u0001'".replace("'", '"')), "write a type of 1 to 255 bytes without"),
        (one(type="'a'", category="'a b'"), "category: contains a comma, a space or a control"),
        (one(type="'a'", category="'{x}'"), "category: '{x}' has a brace"),
        (one(type="'a'", data="'payload'"), "'payload' is not valid; write \"value\" or \"field"),
        (one(type="'a'", data="'field:'"), "'field:' is not valid"),
        (one(data="'value'"), "data: needs a type; write for example type = "),
        (one(category="'a'"), "category: needs a type"),
        (one(partitions="'3'"), "'3' is not a number; write for example 12"),
        (one(partitions="true"), "True is not a number"),
        (one(partitions="0"), "0 is out of range; write 1 to 10000"),
        (one(audience="'all'", partitions="2"), "a topic for all streams has one partition"),
        (one(format="'xml'"), "'xml' is not one; write avro, protobuf, json-schema"),
        (one(categories="'a'"), "categories: there is no such key; did you mean category?"),
        (one(zzz="1"), "there is no such key; keys are topic, topics, audience, key"),
        (one() + "\n" + one(), "[[source]] 2 (line 4): topic: topic orders is also in"),
        (one(topic=None, topics="['a', 'a']"), "topic a is also in [[source]] 1"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_with_its_line_and_a_remedy(text: str, error: str) -> None:
    if not error:
        assert len(parse_sources(text)) == 1
    else:
        assert error in refusal(text)


def test_all_mistakes_are_reported_together() -> None:
    lines = refusal(FULL.replace("{user}", "{name}").replace('"team"', '"{team}"')).splitlines()
    assert [line[:33] for line in lines] == [
        "FILE: [[source]] 2 (line 10): key",
        "FILE: [[source]] 3 (line 21): typ",
    ]


def test_a_header_inside_of_a_string_makes_the_lines_unknown() -> None:
    text = one(type='"""\n[[source]]\n"""', key="'x'")
    assert "FILE: [[source]] 1: key: 'x' has no {user}" in refusal(text)


def test_the_number_of_topics_is_bounded() -> None:
    names = [f"t{number}" for number in range(MAX_SOURCES + 1)]
    assert len(parse_sources(one(topic=None, topics=names[1:]))) == MAX_SOURCES
    assert "there are more than 16 topics; remove some" in refusal(one(topic=None, topics=names))


def test_two_topics_with_the_same_mark_are_rejected() -> None:
    wanted = name_mark("orders")
    same = next(name for n in range(1 << 20) if name_mark(name := f"orders-{n}") == wanted)
    assert f"topics orders and {same} have the same mark in event ids" in refusal(
        one() + "\n" + one(topic=f"'{same}'")
    )


toml_values = st.sampled_from(
    [
        "''",
        "'a'",
        "'{user}'",
        "'{field:x}'",
        "'all'",
        "'group'",
        "['a']",
        "7",
        "true",
        "[[1]]",
        "{}",
    ]
)


@given(st.lists(st.dictionaries(st.sampled_from([*KEYS, "x"]), toml_values), max_size=3))
def test_any_table_is_accepted_or_rejected_in_lines(tables: list[dict[str, str]]) -> None:
    lines = []
    for table in tables:
        lines += ["[[source]]", *(f"{name} = {value}" for name, value in table.items())]
    fault = ""
    try:
        assert 0 < len(parse_sources("\n".join(lines), "FILE")) <= MAX_SOURCES
    except SettingsError as error:
        fault = str(error)
    assert all(line.startswith("FILE: ") for line in fault.splitlines())


def test_settings_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "sources.toml"
    file.write_text(FULL)
    settings = load_settings(None, sources=file)
    assert settings.event_sources == parse_sources(FULL) == load_sources(file)
    assert [(spec.name, spec.partitions) for spec in topic_specs(settings)] == [
        ("orders.v1", 3),
        ("teams.a", 12),
        ("teams.b", 12),
        ("plain", 12),
        ("news", 1),
        ("gateway-revocations", 1),
        ("gateway-workers", 1),
    ]


def test_the_settings_file_may_have_the_sources(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(f"revocations_topic = ''\n{FULL}")
    settings = load_settings(file)
    assert settings.sources == file
    assert settings.event_sources == parse_sources(FULL)
    assert settings.revocations_topic == ""


def test_mistakes_in_the_file_are_mistakes_of_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "sources.toml"
    for content, error in (
        (None, "GATEWAY_SOURCES: {file}: cannot be read: No such file or directory"),
        (b"\xff", "GATEWAY_SOURCES: {file}: is not UTF-8; save it as UTF-8"),
        (one(key="'x'").encode(), "GATEWAY_SOURCES: {file}: [[source]] 1 (line 3): key: 'x' has"),
    ):
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(SettingsError) as refused:
            load_settings(None, sources=file)
        assert str(refused.value).startswith(error.format(file=file))


def test_sources_replace_the_topic_settings(tmp_path: Path) -> None:
    file = tmp_path / "sources.toml"
    file.write_text(one())
    with pytest.raises(SettingsError, match="GATEWAY_TOPIC cannot be set with GATEWAY_SOURCES"):
        load_settings(None, sources=file, topic="mine")
    with pytest.raises(SettingsError, match="GATEWAY_BROADCAST_TOPIC cannot be set"):
        load_settings(None, sources=file, broadcast_topic="")
    file.write_text(one(topic="'gateway-workers'"))
    with pytest.raises(SettingsError, match="two settings name the topic"):
        load_settings(None, sources=file)


def test_categories_of_sources_can_be_requested(tmp_path: Path) -> None:
    file = tmp_path / "sources.toml"
    file.write_text(FULL + '\ntype = "x"\ncategory = "ai"')
    settings = load_settings(None, sources=file)
    assert fixed_categories(settings.event_sources) == ["orders", "ai"]
    registry = load_registry(settings)
    assert registry.categories[-3:] == ("portfolio", "security", "orders")
    assert registry.categories.count("ai") == 1
    assert registry.types == load_registry(Settings()).types


def test_a_table_that_is_nested_too_deeply_is_a_mistake_of_its_key() -> None:
    text = '[[source]]\ntopic = "a"\ntype' + ".a" * 3000 + " = 1"
    with pytest.raises(SettingsError, match="type: a table that is nested too deeply is not text"):
        parse_sources(text)


def test_every_mistake_of_a_mapping_is_reported_at_once() -> None:
    text = '[[source]]\ntopic = "a"\ntype = "{field:}"\ncategory = "a,b"\ndata = "field:"'
    with pytest.raises(SettingsError) as raised:
        parse_sources(text)
    lines = str(raised.value).splitlines()
    assert [line.split(": ")[2] for line in lines] == ["type", "category", "data"]
