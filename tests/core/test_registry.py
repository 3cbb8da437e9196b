from __future__ import annotations

import pytest

from gateway.core.registry import BUILT_IN, Registry
from gateway.errors import SettingsError

CATEGORIES = ("data_sync", "provider", "ai", "import", "portfolio", "security")


def test_the_built_in_registry_has_29_types_in_6_categories() -> None:
    registry = Registry.built_in()
    assert registry.categories == CATEGORIES
    assert len(registry.types) == 29
    assert set(registry.types.values()) == set(CATEGORIES)


@pytest.mark.parametrize(
    ("event_type", "category"),
    [
        ("sync.holdings.failed", "data_sync"),
        ("provider.disconnected", "provider"),
        ("ai.response.chunk", "ai"),
        ("import.progress", "import"),
        ("portfolio.networth.updated", "portfolio"),
        ("security.session.revoked", "security"),
        ("security.session", None),
        ("SECURITY.SESSION.REVOKED", None),
        ("", None),
    ],
)
def test_a_type_has_this_category(event_type: str, category: str | None) -> None:
    assert Registry.built_in().category_of(event_type) == category


def test_a_registry_is_read_from_toml() -> None:
    registry = Registry.from_toml('[categories]\norders = ["order.paid"]\n"größe-2" = ["g"]')
    assert registry.categories == ("orders", "größe-2")
    assert dict(registry.types) == {"order.paid": "orders", "g": "größe-2"}


def test_the_types_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        Registry.built_in().types["new"] = "ai"  # type: ignore[index]


def test_the_built_in_text_can_be_extended() -> None:
    registry = Registry.from_toml(BUILT_IN + 'orders = ["order.paid"]\n')
    assert registry.categories == (*CATEGORIES, "orders")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[categories", "is not valid TOML"),
        ("categories = " + "9" * 5000, "is not valid TOML"),
        ("categories = " + "[" * 5000, "is not valid TOML"),
        ('[categories]\na = ["x"]\na = ["y"]', "is not valid TOML"),
        ("", "has no categories"),
        ("[categories]", "has no categories"),
        ("categories = 3", "has no categories"),
        ('categories = ["a"]', "has no categories"),
        ('[categories]\na = ["x"]\n[types]\nb = ["y"]', "unknown key 'types'"),
        ('a = ["x"]', "unknown key 'a'"),
        ("[categories]\na = []", "'a' has no types"),
        ('[categories]\na = "x"', "'a' has no types"),
        ('[categories]\na.b = ["x"]', "'a' has no types"),
        ("[categories]\na = [1]", "contains 1, which is not text; put every type in quotes"),
        ('[categories]\na = [["x"]]', "put every type in quotes"),
        ('[categories]\na = ["x", "x"]', "is in 'a' and again in 'a'"),
        ('[categories]\na = ["x"]\nb = ["x"]', "is in 'a' and again in 'b'"),
        ('[categories]\na = ["stream.gap"]', "begins with 'stream.'"),
        ('[categories]\na = [""]', "a type has an empty name"),
        ('[categories]\n"" = ["x"]', "a category has an empty name"),
        ('[categories]\n"a,b" = ["x"]', "category 'a,b' contains a comma"),
        ('[categories]\n"a b" = ["x"]', "category 'a b' contains"),
        ('[categories]\na = ["x y"]', "type 'x y' contains"),
        ('[categories]\na = ["x\\ny"]', "contains a comma, a space or a control character"),
        ('[categories]\na = ["x\\u0000"]', "contains a comma, a space or a control character"),
        ('[categories]\na = ["x\\u2028"]', "contains a comma, a space or a control character"),
        ('[categories]\na = ["' + "é" * 128 + '"]', "longer than 255 bytes"),
    ],
)
def test_an_invalid_registry_gets_one_line_with_cause_and_remedy(text: str, complaint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Registry.from_toml(text)
    line = str(caught.value)
    assert complaint in line
    assert "\n" not in line


def test_categories_of_mappings_are_added_once_and_without_types() -> None:
    registry = Registry.from_toml('[categories]\na = ["x"]').with_categories(["b", "a", "b"])
    assert registry.categories == ("a", "b")
    assert registry.types == {"x": "a"}
