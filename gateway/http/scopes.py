"""What a token may read: its scopes select events, and the query narrows them.

    events:portfolio              the category `portfolio`
    events:type:import.completed  the type `import.completed`
    events:type:import.*          all types that begin with `import.`
    events:*                      everything

`events:` is `GATEWAY_SCOPE_PREFIX`. A token may read what any of its scopes selects.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.core.filter import Selection, select_types
from gateway.errors import InsufficientScope
from gateway.http.auth.claims import CHALLENGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.registry import Registry

ALL = "*"
TYPE = "type:"

_TOKEN = re.compile("[!#-\\[\\]-~]+")
"""A scope that a header can name (RFC 6749, §3.3)."""

KEPT = 1024
"""Sets of scopes whose selection is kept; tokens of one client have the same scopes."""


class Scopes:
    """Turns the scopes of tokens into selections of events; `prefix` precedes each scope."""

    def __init__(self, registry: Registry, prefix: str) -> None:
        self._registry = registry
        self._prefix = prefix
        self._types = sorted(registry.types)
        self._selection = lru_cache(KEPT)(self._read)

    def limit(
        self, scopes: frozenset[str] | None, wanted: Sequence[Selection]
    ) -> Sequence[Selection]:
        """Return the selections of a stream: those of its query, `wanted`, within a token's scopes.

        `scopes` are without prefix; None: no limit. Raises `InsufficientScope` if nothing is left
        of a selection of the query, as far as the registry tells.
        """
        if scopes is None:
            return wanted
        allowed = self._selection(scopes)
        if allowed is None:
            return wanted
        if allowed == Selection():
            raise self._insufficient(wanted or [Selection(frozenset(self._registry.categories))])
        missing = [each for each in wanted if not self._meet(allowed, each)]
        if missing:
            raise self._insufficient(missing)
        return [allowed, *wanted]

    def _read(self, scopes: frozenset[str]) -> Selection | None:
        """Return the events of the scopes; None: all events. An invalid scope is ignored."""
        types: set[str] = set()
        prefixes: set[str] = set()
        for scope in scopes:
            if scope == ALL:
                return None
            if scope.startswith(TYPE):
                with suppress(ValueError):
                    found = select_types([scope.removeprefix(TYPE)])
                    if found is None:
                        return None
                    types |= found.types
                    prefixes.update(found.prefixes)
        categories = scopes.intersection(self._registry.categories)
        return Selection(categories, frozenset(types), tuple(sorted(prefixes)))

    def _meet(self, one: Selection, other: Selection) -> bool:
        """Return whether an event may be in both selections."""
        return (
            not one.categories.isdisjoint(other.categories)
            or self._type_in(one, other.categories)
            or self._type_in(other, one.categories)
            or not one.types.isdisjoint(other.types)
            or any(name.startswith(other.prefixes) for name in (*one.types, *one.prefixes))
            or any(name.startswith(one.prefixes) for name in (*other.types, *other.prefixes))
        )

    def _type_in(self, selection: Selection, categories: frozenset[str]) -> bool:
        """Return whether a selected type may be in one of the categories.

        A type that the registry lacks may be in any category, because a record can name its own.
        """
        if not categories:
            return False
        for name in selection.types:
            if (category := self._registry.category_of(name)) is None or category in categories:
                return True
        for prefix in selection.prefixes:
            first = at = bisect_left(self._types, prefix)
            while at < len(self._types) and self._types[at].startswith(prefix):
                if self._registry.types[self._types[at]] in categories:
                    return True
                at += 1
            if at == first:
                return True
        return False

    def _insufficient(self, missing: Sequence[Selection]) -> InsufficientScope:
        names = [
            f"{self._prefix}{name}"
            for each in missing
            for name in [*sorted(each.categories), *(f"{TYPE}{name}" for name in each.patterns)]
        ]
        fit = " ".join(name for name in names if _TOKEN.fullmatch(name))
        scope = f', scope="{fit}"' if fit else ""
        return InsufficientScope(
            f"the token does not allow this; it needs one of: {' '.join(names)[:500]}",
            {"WWW-Authenticate": f'{CHALLENGE}, error="insufficient_scope"{scope}'},
        )
