"""The sources of a deployment, read from the TOML file that `GATEWAY_SOURCES` names.

    [[source]]
    topic = "orders.v1"              # or topics = ["orders.v1", "orders.v2"]
    audience = "user"                # user (the default), group or all
    key = "customer:{user}"          # {user} or {group}: where the key holds the name
    groups = "tenants"               # only for groups: the claim that lists a reader's groups
    type = "order.{header:kind}"     # text, {header:NAME}, {field:NAME}; without: our own formats
    category = "orders"              # the same, optional
    data = "value"                   # the whole value (the default), or "field:NAME"
    format = "avro"                  # values of a Schema Registry: avro, protobuf, json-schema
    partitions = 12                  # of a topic that the gateway creates

Every mistake is reported with its source, its line and a remedy.
"""

from __future__ import annotations

import re
import tomllib
from difflib import get_close_matches
from typing import TYPE_CHECKING, NamedTuple

from gateway.core.event import type_fault
from gateway.core.mapping import RecordMapping, Template
from gateway.core.records import LogKind, UnreadableReason
from gateway.core.registry import MAX_NAME_BYTES, RESERVED_PREFIX, name_fault
from gateway.core.source import DEFAULT_PARTITIONS, KeyTemplate, Source, ValueFormat
from gateway.errors import SettingsError
from gateway.files import read_file
from gateway.settings.setting_types import shown, topic_fault

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

MAX_SOURCES = 16
"""Topics of a deployment: every stream has a place in each of them, and an event id holds all."""

MAX_PARTITIONS = 10_000
"""Partitions of a topic that the gateway creates."""

AUDIENCES = {"user": LogKind.USER, "group": LogKind.GROUP, "all": LogKind.BROADCAST}

KEYS = (
    *("topic", "topics", "audience", "key", "groups", "type", "category", "data"),
    *("format", "partitions"),
)

_HEADER = re.compile(r"\s*\[\[\s*source\s*\]\]\s*(#.*)?")
_KEY = re.compile(r"\s*\"?(\w+)\"?\s*=")


class _Fault(NamedTuple):
    """A mistake in one source; `key` is empty if it concerns the source as a whole."""

    number: int
    key: str
    text: str


def load_sources(path: Path, settings: Collection[str] = ()) -> tuple[Source, ...]:
    """Return the sources in a file, as written, those for all streams last.

    The file may be the settings file, with `settings` next to the sources. Raises `SettingsError`
    with one line for each mistake.
    """
    where = f"GATEWAY_SOURCES: {path}"
    try:
        text = read_file(path).decode()
    except OSError as error:
        raise SettingsError(f"{where}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{where}: is not UTF-8; save it as UTF-8") from None
    except ValueError:
        raise SettingsError(f"{where}: is not a file name; write a path") from None
    return parse_sources(text, where, settings)


def parse_sources(
    text: str, where: str = "GATEWAY_SOURCES", settings: Collection[str] = ()
) -> tuple[Source, ...]:
    """Return the sources in a TOML text; see `load_sources`. Errors begin with `where`."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # RecursionError: deep nesting
        raise SettingsError(f"{where}: is not valid TOML: {error}") from None
    unknown = [name for name in document if name != "source" and name not in settings]
    if unknown:
        raise SettingsError(
            f"{where}: unknown key {shown(unknown[0])}; write everything under [[source]]"
        )
    tables = document.get("source")
    if not isinstance(tables, list) or not tables or not all(isinstance(t, dict) for t in tables):
        raise SettingsError(
            f"{where}: has no sources; write for each topic a table that begins with a line"
            " [[source]], with two brackets on either side"
        )
    faults: list[_Fault] = []
    sources: list[tuple[int, Source]] = []
    for number, table in enumerate(tables, 1):
        reader = _Reader(number, table)
        sources += [(number, source) for source in reader.sources()]
        faults += reader.faults
    faults += _conflicts(sources)
    if faults:
        lines = _lines(text, len(tables))
        raise SettingsError("\n".join(_told(where, fault, lines) for fault in faults))
    found = [source for _, source in sources]
    return tuple(sorted(found, key=lambda source: source.kind is LogKind.BROADCAST))


def fixed_categories(sources: Collection[Source]) -> list[str]:
    """Return the categories that mappings name as fixed text, in order and without repetition."""
    found = [
        source.mapping.category.text
        for source in sources
        if source.mapping and source.mapping.category and source.mapping.category.fixed
    ]
    return list(dict.fromkeys(found))


class _Reader:
    """Reads one table, and collects its mistakes in `faults`."""

    def __init__(self, number: int, table: Mapping[str, object]) -> None:
        self.faults: list[_Fault] = []
        self._number = number
        self._table = table

    def sources(self) -> list[Source]:
        """Return a source for each topic of the table; incomplete after a mistake."""
        for name in self._table:
            if name not in KEYS:
                close = get_close_matches(name, KEYS, n=1)
                remedy = f"did you mean {close[0]}?" if close else f"keys are {', '.join(KEYS)}"
                self._fault(name, f"there is no such key; {remedy}")
        topics = self._topics()
        kind = self._kind()
        key, groups = self._key(kind), self._groups(kind)
        mapping = self._mapping()
        partitions = self._partitions(kind)
        form = self._format()
        return [Source(topic, kind, key, groups, mapping, partitions, form) for topic in topics]

    def _topics(self) -> list[str]:
        if ("topic" in self._table) == ("topics" in self._table):
            self._fault("topic", 'write either topic = "NAME" or topics = ["NAME", …]')
            return []
        if "topic" in self._table:
            name, found = "topic", [self._table["topic"]]
        else:
            name, listed = "topics", self._table["topics"]
            found = listed if isinstance(listed, list) and listed else [listed]
        topics = []
        for topic in found:
            if not isinstance(topic, str):
                self._fault(name, f"{shown(topic)} is not a topic name; write it in quotes")
            elif fault := topic_fault(topic):
                self._fault(name, fault)
            else:
                topics.append(topic)
        return topics

    def _kind(self) -> LogKind:
        audience = self._text("audience") or "user"
        if audience not in AUDIENCES:
            self._fault("audience", f"{shown(audience)} is not one; write user, group or all")
        return AUDIENCES.get(audience, LogKind.USER)

    def _key(self, kind: LogKind) -> KeyTemplate:
        text = self._text("key")
        if text is None:
            return KeyTemplate()
        if kind is LogKind.BROADCAST:
            self._fault("key", "keys are ignored with the audience all; remove it")
            return KeyTemplate()
        try:
            return KeyTemplate.parse(text, f"{{{kind}}}")
        except ValueError as error:
            self._fault("key", f"{shown(text)} {error}")
            return KeyTemplate()

    def _groups(self, kind: LogKind) -> str:
        groups = self._text("groups")
        if kind is not LogKind.GROUP and groups is not None:
            self._fault("groups", 'only the audience group has groups; write audience = "group"')
        if kind is LogKind.GROUP and not groups:
            self._fault(
                "groups",
                "is missing; name the claim of the token that lists the reader's groups, such as"
                ' groups = "tenants"',
            )
        return groups or ""

    def _mapping(self) -> RecordMapping | None:
        if "type" not in self._table:
            for name in ("category", "data"):
                if name in self._table:
                    self._fault(
                        name, 'needs a type; write for example type = "order.{header:kind}"'
                    )
            return None
        event_type = self._template("type")
        category = self._template("category")
        if category is not None and category.fixed and (fault := name_fault(category.text)):
            self._fault("category", fault)
        data = self._data()
        if event_type is None:
            return None
        if event_type.fixed:
            self._check_type(event_type.text)
        elif event_type.text.startswith(RESERVED_PREFIX):
            self._check_type(RESERVED_PREFIX)
        return RecordMapping(event_type, category, data)

    def _check_type(self, event_type: str) -> None:
        fault = type_fault(event_type)
        if fault is UnreadableReason.RESERVED_TYPE:
            self._fault("type", f"types that begin with {RESERVED_PREFIX} are reserved; rename it")
        elif fault is not None:
            self._fault(
                "type", f"write a type of 1 to {MAX_NAME_BYTES} bytes without control characters"
            )

    def _template(self, name: str) -> Template | None:
        text = self._text(name)
        if text is None:
            return None
        try:
            return Template.parse(text)
        except ValueError as error:
            self._fault(name, f"{shown(text)} {error}")
            return None

    def _data(self) -> str | None:
        text = self._text("data")
        if text is None or text == "value":
            return None
        name = text.removeprefix("field:")
        if name in {text, ""}:
            self._fault("data", f'{shown(text)} is not valid; write "value" or "field:NAME"')
        return name

    def _format(self) -> ValueFormat | None:
        text = self._text("format")
        if text is None:
            return None
        if text not in list(ValueFormat):
            self._fault("format", f"{shown(text)} is not one; write {', '.join(ValueFormat)}")
            return None
        return ValueFormat(text)

    def _partitions(self, kind: LogKind) -> int:
        default = 1 if kind is LogKind.BROADCAST else DEFAULT_PARTITIONS
        count = self._table.get("partitions", default)
        if not isinstance(count, int) or isinstance(count, bool):
            self._fault("partitions", f"{shown(count)} is not a number; write for example 12")
        elif kind is LogKind.BROADCAST and count != 1:
            self._fault("partitions", "a topic for all streams has one partition; write 1")
        elif not 1 <= count <= MAX_PARTITIONS:
            self._fault("partitions", f"{count} is out of range; write 1 to {MAX_PARTITIONS}")
        else:
            return count
        return default

    def _text(self, name: str) -> str | None:
        value = self._table.get(name)
        if value is not None and not isinstance(value, str):
            self._fault(name, f"{shown(value)} is not text; write it in quotes")
            return None
        return value

    def _fault(self, key: str, text: str) -> None:
        self.faults.append(_Fault(self._number, key, text))


def _conflicts(sources: list[tuple[int, Source]]) -> list[_Fault]:
    """Return the mistakes that several sources make together."""
    faults = []
    if len(sources) > MAX_SOURCES:
        number, _ = sources[MAX_SOURCES]
        faults.append(_Fault(number, "", f"there are more than {MAX_SOURCES} topics; remove some"))
    names: dict[str, int] = {}
    marks: dict[bytes, str] = {}
    for number, source in sources:
        topic, mark = source.topic, source.mark
        if topic in names:
            text = f"topic {topic} is also in [[source]] {names[topic]}; remove one of the two"
            faults.append(_Fault(number, "topic", text))
            continue
        names[topic] = number
        if mark in marks:
            text = (
                f"topics {marks[mark]} and {topic} have the same mark in event ids, which hold 14"
                " bits of each name; rename one of them, or serve it by another gateway"
            )
            faults.append(_Fault(number, "topic", text))
        marks[mark] = topic
    return faults


def _lines(text: str, count: int) -> list[dict[str, int]]:
    """Return for each source the lines of its keys, and that of its header as the empty key.

    Empty if the headers cannot be told from other text, as in a string of several lines.
    """
    found: list[dict[str, int]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if _HEADER.fullmatch(line):
            found.append({"": number})
        elif found and (key := _KEY.match(line)):
            found[-1].setdefault(key[1], number)
    return found if len(found) == count else []


def _told(where: str, fault: _Fault, lines: list[dict[str, int]]) -> str:
    place = f"[[source]] {fault.number}"
    if lines:
        known = lines[fault.number - 1]
        place += f" (line {known.get(fault.key, known[''])})"
    return f"{where}: {place}: {f'{fault.key}: ' if fault.key else ''}{fault.text}"
