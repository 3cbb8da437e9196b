"""Every private name of aiokafka that the gateway uses: each must exist, and no other may be used.

The reader uses only public names. `gateway.kafka.idempotent` and `gateway.kafka.client.brokers`
override parts of the producer, which is why `pyproject.toml` limits aiokafka's version.
"""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from types import ModuleType

import aiokafka.client
import aiokafka.producer.message_accumulator
import aiokafka.producer.producer
import aiokafka.producer.sender
import aiokafka.producer.transaction_manager
import aiokafka.protocol.produce
import pytest

import gateway

KAFKA = Path(gateway.__file__).parent / "kafka"

PRIVATE: dict[ModuleType, str] = {
    aiokafka.client: (
        "_get_conn_lock _get_conn _maybe_wait_metadata _metadata_update _retry_backoff"
    ),
    aiokafka.producer.message_accumulator: (
        "_batch_size _batch_ttl _batches _builder _compression_type _linger_time"
    ),
    aiokafka.producer.sender: "_message_accumulator _txn_manager",
    aiokafka.producer.producer: "_sender",
    aiokafka.producer.transaction_manager: "_pid_and_epoch _pid_waiter _sequence_numbers",
    aiokafka.protocol.produce: "_topics",
}

PUBLIC = {"_replace", "_asdict", "_fields"}
"""Methods of named tuples."""


@pytest.mark.parametrize("module", PRIVATE)
def test_private_names_still_exist(module: ModuleType) -> None:
    source = inspect.getsource(module)
    for name in PRIVATE[module].split():
        assert name in source, f"aiokafka has no {name} in {module} any more"


def test_no_other_private_name_is_used() -> None:
    known = {name for names in PRIVATE.values() for name in names.split()}
    for path in KAFKA.rglob("*.py"):
        tree = ast.parse(path.read_text())
        own = {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        } | {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute) or not node.attr.startswith("_"):
                continue
            if isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}:
                continue
            if not node.attr.startswith("__"):
                assert node.attr in known | PUBLIC | own, f"{path.name}: {ast.unparse(node)}"


def test_reading_uses_no_private_name() -> None:
    for path in (KAFKA / "fetch").rglob("*.py"):
        assert "SLF001" not in path.read_text()
