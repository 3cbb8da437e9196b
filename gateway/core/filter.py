"""Filters: which events a stream receives.

A filter is a conjunction of selections: `categories=` and `types=` of a request each select events,
and so do the scopes of a token. Events that a filter excludes advance the stream's cursor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakValueDictionary

from gateway.core.event import type_fault
from gateway.core.frame import GAP
from gateway.core.records import Event, UnreadableReason
from gateway.core.registry import MAX_NAME_BYTES, RESERVED_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable


MAX_PATTERNS = 100
"""Patterns in one selection of types; their check takes 3 µs for an event that matches none."""

_REMEDY = "write a type such as import.completed, or all types of a prefix such as import.*"


class Selection(NamedTuple):
    """Events of these categories, of these types, or of types that begin with a prefix."""

    categories: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()

    def has(self, event: Event) -> bool:
        """Return whether the selection contains the event."""
        return (
            event.category in self.categories
            or event.event_type in self.types
            or event.event_type.startswith(self.prefixes)
        )

    @property
    def patterns(self) -> list[str]:
        """The types and prefixes as they are written in a request, in order."""
        return sorted([*self.types, *(f"{prefix}*" for prefix in self.prefixes)])


class EventFilter:
    """Events that are in each of `selections`; immutable, and compared by identity.

    Streams with the same filter share frames, so filters come from `Filters`.
    """

    __slots__ = ("__weakref__", "selections")

    def __init__(self, selections: Iterable[Selection]) -> None:
        self.selections = tuple(selections)

    @property
    def categories(self) -> list[str] | None:
        """The categories of the selections by category, as shown to operators; None without one."""
        found = [each.categories for each in self.selections if each.categories]
        return sorted(frozenset.intersection(*found)) if found else None

    @property
    def types(self) -> list[str] | None:
        """The types and prefixes of the selections by type, as shown to operators; None without."""
        found = [pattern for each in self.selections for pattern in each.patterns]
        return found or None

    def accepts(self, event: Event) -> bool:
        """Return whether a stream with this filter receives the event; some 0.2 µs.

        A gap in place of an event that cannot be decoded is accepted.
        """
        if event.event_type == GAP:  # its record may have been an event that the filter accepts
            return True
        for selection in self.selections:  # noqa: SIM110 - `all` with a generator takes 0.4 µs more
            if not selection.has(event):
                return False
        return True


class Filters:
    """The filters in use: one object for all requests with the same selections."""

    def __init__(self) -> None:
        self._filters: WeakValueDictionary[tuple[Selection, ...], EventFilter] = (
            WeakValueDictionary()
        )

    def __len__(self) -> int:
        return len(self._filters)

    def find(self, selections: Iterable[Selection]) -> EventFilter | None:
        """Return the filter with these selections; None without any: all events."""
        key = tuple(selections)
        if not key:
            return None
        found = self._filters.get(key)
        if found is None:
            found = self._filters[key] = EventFilter(key)
        return found


def select_types(patterns: Iterable[str]) -> Selection | None:
    """Return the events whose type matches one of `patterns`; None if one is `*`: all events.

    A pattern is a type, or a prefix that ends in a dot and `*`. Raises `ValueError` with cause and
    remedy.
    """
    types: set[str] = set()
    prefixes: set[str] = set()
    for pattern in patterns:
        fault = type_fault(pattern)
        if fault is UnreadableReason.RESERVED_TYPE:
            raise ValueError(
                f"type {pattern[:100]} is reserved: events that begin with {RESERVED_PREFIX} are"
                " always sent; leave it out"
            )
        if fault is not None:
            raise ValueError(
                f"a type has 1 to {MAX_NAME_BYTES} bytes and no control characters; {_REMEDY}"
            )
        prefix = pattern.removesuffix("*")
        if "*" in prefix or (prefix != pattern and prefix and not prefix.endswith(".")):
            raise ValueError(f"type {pattern[:100]} has a * that does not end a prefix; {_REMEDY}")
        if prefix == pattern:
            types.add(pattern)
        else:
            prefixes.add(prefix)
    if len(types) + len(prefixes) > MAX_PATTERNS:
        raise ValueError(f"more than {MAX_PATTERNS} types; write prefixes such as import.*")
    if "" in prefixes:
        return None
    return Selection(types=frozenset(types), prefixes=tuple(sorted(prefixes)))
