"""No private name of aiokafka is used: an update of aiokafka changes private names at any time."""

from __future__ import annotations

import ast
from pathlib import Path

import gateway

PUBLIC = {"_replace", "_asdict", "_fields"}
"""Methods of named tuples."""


def test_no_private_name_of_another_object_is_used() -> None:
    for path in (Path(gateway.__file__).parent / "kafka").rglob("*.py"):
        assert "SLF001" not in path.read_text(), path
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Attribute) or not node.attr.startswith("_"):
                continue
            own = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
            if not own and not node.attr.startswith("__"):
                assert node.attr in PUBLIC, f"{path.name}: {ast.unparse(node)}"


def test_aiokafka_clients_are_not_used() -> None:
    clients = ("aiokafka.client", "aiokafka.admin", "aiokafka.producer", "AIOKafka")
    for path in Path(gateway.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert not any(name in ast.unparse(node) for name in clients), path
