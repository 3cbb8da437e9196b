"""Renders an API description: a YAML file with placeholders and conditional parts.

"{{name}}"            a scalar that is only a placeholder becomes the value, of any JSON type
text with {{name}}    the value as text
x-when: feature       the object around it is omitted unless the feature is present
x-parts               anchors of repeated parts; omitted
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

import yaml

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

Json = dict[str, Any]

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
_OMITTED = object()


def render(name: str, values: Mapping[str, Any], features: Collection[str]) -> Json:
    """Return the description in `gateway/api/NAME.yaml`; takes some 10 ms.

    Raises `KeyError` for a placeholder without a value.
    """
    text = files("gateway.api").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is
    document = yaml.load(text, Loader=loader)  # noqa: S506 - both loaders are safe
    del document["x-parts"]
    return cast("Json", _rendered(document, values, features))


def _rendered(node: object, values: Mapping[str, Any], features: Collection[str]) -> Any:
    if isinstance(node, dict):
        if node.get("x-when", "") not in {"", *features}:
            return _OMITTED
        parts = {
            _rendered(key, values, features): _rendered(part, values, features)
            for key, part in node.items()
            if key != "x-when"
        }
        return {key: part for key, part in parts.items() if part is not _OMITTED}
    if isinstance(node, list):
        items = [_rendered(item, values, features) for item in node]
        return [item for item in items if item is not _OMITTED]
    if not isinstance(node, str):
        return node
    whole = _PLACEHOLDER.fullmatch(node)
    if whole:
        return values[whole[1]]
    return _PLACEHOLDER.sub(lambda found: str(values[found[1]]), node).rstrip()
