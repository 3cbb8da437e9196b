from __future__ import annotations

import pytest

from gateway.core.mapping import Origin, Placeholder, RecordMapping, Template

HEADER, FIELD = Origin.HEADER, Origin.FIELD


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("orders", ("orders",)),
        ("{header:kind}", (Placeholder(HEADER, "kind"),)),
        ("{header:Event-Kind}", (Placeholder(HEADER, "event-kind"),)),
        ("{field:Kind}", (Placeholder(FIELD, "Kind"),)),
        ("order.{header:kind}", ("order.", Placeholder(HEADER, "kind"))),
        ("{field:a b}{header:c}.x", (Placeholder(FIELD, "a b"), Placeholder(HEADER, "c"), ".x")),
    ],
)
def test_a_template_is_literal_text_and_placeholders(
    text: str, parts: tuple[str | Placeholder, ...]
) -> None:
    assert Template.parse(text) == (text, parts)


@pytest.mark.parametrize("text", ["{", "}", "{kind}", "{header:}", "{headers:x}", "a{field:{x}}"])
def test_a_brace_outside_of_a_placeholder_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"placeholders are \{header:NAME\} and \{field:NAME\}"):
        Template.parse(text)


def test_an_empty_template_is_rejected() -> None:
    with pytest.raises(ValueError, match="is empty"):
        Template.parse("")


def test_a_mapping_takes_the_whole_value_by_default() -> None:
    assert RecordMapping(Template.parse("x")) == (Template("x", ("x",)), None, None)
