"""The event registry: the category of each event type.

Clients filter by category, producers write types; the registry maps types to categories. The
built-in registry has the format of a registry file, so it also serves as an example.
"""

from __future__ import annotations

import re
import tomllib
from types import MappingProxyType
from typing import TYPE_CHECKING

from gateway.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

RESERVED_PREFIX = "stream."
"""Prefix of the types that the gateway sends itself: `stream.gap` and `stream.close`."""

MAX_NAME_BYTES = 255
"""Maximum length of a type, which every event repeats; near Kafka's limit for topic names."""

BUILT_IN = """\
[categories]
data_sync = [
    "sync.accounts.started", "sync.accounts.completed", "sync.accounts.failed",
    "sync.transactions.started", "sync.transactions.completed", "sync.transactions.failed",
    "sync.holdings.started", "sync.holdings.completed", "sync.holdings.failed",
]
provider = [
    "provider.token.expiring", "provider.token.refreshed", "provider.token.failed",
    "provider.disconnected",
]
ai = ["ai.response.chunk", "ai.tool.executing", "ai.response.complete"]
import = ["import.started", "import.progress", "import.completed", "import.failed"]
portfolio = [
    "portfolio.balance.updated", "portfolio.holdings.updated", "portfolio.networth.updated",
]
security = [
    "security.session.new", "security.session.suspicious", "security.session.expiring",
    "security.session.revoked", "security.password.changed", "security.login.failed",
]
"""

# A comma separates the categories of a request; a line break separates the fields of an event.
_UNFIT = re.compile(r"[\s,\x00-\x1f\x7f-\x9f]")


class Registry:
    """Categories and their types; immutable.

    Construct with `Registry.built_in` or `Registry.from_toml`.
    """

    categories: tuple[str, ...]
    """Categories in file order."""

    types: Mapping[str, str]
    """The category of each type."""

    def __init__(self, categories: Mapping[str, list[str]]) -> None:
        self.categories = tuple(categories)
        self.types = MappingProxyType(
            {event_type: name for name, types in categories.items() for event_type in types}
        )

    @classmethod
    def built_in(cls) -> Registry:
        """Return the default registry: 29 types in 6 categories."""
        return cls.from_toml(BUILT_IN)

    @classmethod
    def from_toml(cls, text: str) -> Registry:
        """Return the registry in a TOML text: `[categories]` of `name = ["type", …]`.

        Raises `SettingsError` for the first error found, with one line: the cause and the remedy.
        """
        try:
            document = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # RecursionError: deep nesting
            raise SettingsError(f"is not valid TOML: {error}") from None
        for name in document:
            if name != "categories":
                raise SettingsError(f"unknown key {name!r}; write everything under [categories]")
        return cls(_checked(document.get("categories")))

    def with_categories(self, names: Iterable[str]) -> Registry:
        """Return the registry with more categories, which have no types of their own."""
        more = Registry({})
        more.categories = tuple(dict.fromkeys([*self.categories, *names]))
        more.types = self.types
        return more

    def category_of(self, event_type: str) -> str | None:
        """Return the category of a type, or None for an unknown type."""
        return self.types.get(event_type)


def _checked(categories: object) -> dict[str, list[str]]:
    if not isinstance(categories, dict) or not categories:
        raise SettingsError(
            'has no categories; write a table [categories] with lines name = ["type", …]'
        )
    home: dict[str, str] = {}
    for category, types in categories.items():
        _check_name("category", category)
        if not isinstance(types, list) or not types:
            raise SettingsError(
                f'category {category!r} has no types; write {category} = ["type", …]'
            )
        for event_type in types:
            if not isinstance(event_type, str):
                raise SettingsError(
                    f"category {category!r} contains {event_type!r}, which is not"
                    " text; put every type in quotes"
                )
            _check_name("type", event_type)
            if event_type.startswith(RESERVED_PREFIX):
                raise SettingsError(
                    f"type {event_type!r} begins with {RESERVED_PREFIX!r}, which is"
                    " reserved for the gateway; choose another name"
                )
            if event_type in home:
                raise SettingsError(
                    f"type {event_type!r} is in {home[event_type]!r} and again in"
                    f" {category!r}; a type has one category, remove one of the two"
                )
            home[event_type] = category
    return categories


def name_fault(name: str) -> str:
    """Return why a category or type cannot have this name, with the remedy; "" if it can."""
    if not name:
        return "has an empty name; give it one or remove it"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"is longer than {MAX_NAME_BYTES} bytes; shorten it"
    if _UNFIT.search(name):
        return (
            "contains a comma, a space or a control character; use letters, digits, dots and"
            " underscores"
        )
    return ""


def _check_name(noun: str, name: str) -> None:
    if fault := name_fault(name):
        shown = f"{noun} {name[:32]!r}{'…' * (len(name) > 32)}" if name else f"a {noun}"
        raise SettingsError(f"{shown} {fault}")
