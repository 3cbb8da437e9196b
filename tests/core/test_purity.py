from __future__ import annotations

import ast
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import gateway

ROOT = Path(gateway.__file__).parent
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))
CORE = [m for m in MODULES if m.startswith(("core/", "fleet/", "revocation/"))]

IMPURE = {
    "asyncio", "concurrent", "logging", "multiprocessing", "os", "random", "secrets", "select",
    "selectors", "signal", "socket", "ssl", "subprocess", "threading", "time", "urllib", "uuid",
}  # fmt: skip
"""Standard modules that do I/O, wait, read a clock or draw random numbers."""

CORE_LIBRARIES = {"msgspec"}
"""Libraries that the core uses besides the standard library."""

FETCH_SESSION = [
    "kafka/client/wire.py",
    "kafka/fetch/protocol.py",
    "kafka/fetch/session.py",
]
"""The fetch session and its wire format: bytes in, bytes out."""

CLOCKS = {"now", "utcnow", "today"}
"""Methods of `datetime` that read the clock."""

AIOKAFKA = ("kafka/",)
AIOHTTP = ("http/", "ops/", "demo/", "client/", "workers/", "outgoing.py", "app.py", "listeners.py")
OPENTELEMETRY = ("ops/spans.py", "ops/traced.py", "ops/otlp_metrics.py")
"""An optional dependency; `traced.py` needs its types only."""


JUDGED = tuple(
    f"gateway.{name}"
    for name in (
        "app",
        "client",
        "commands",
        "config",
        "core",
        "demo",
        "fleet",
        "http",
        "kafka",
        "ops",
    )
)
"""Packages under test by the conformance suite, which must not import them."""


class Import(NamedTuple):
    module: str
    line: int

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(encoding="utf-8"))


def imports(module: str, *, types: bool = True) -> list[Import]:
    """Return all imports of a module, also in functions, and those for types only."""
    found = []
    tree = tree_of(module)
    nodes = [node for node in tree.body if types or not is_for_types(node)]
    for node in ast.walk(ast.Module(nodes, [])):
        if isinstance(node, ast.Import):
            found += [Import(name.name, node.lineno) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"gateway/{module}:{node.lineno}: a relative import"
            base = node.module or ""
            found += [Import(f"{base}.{name.name}", node.lineno) for name in node.names]
    return found


def is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def test_the_core_modules_are_found() -> None:
    assert {"core/records.py", "core/event.py", "core/frame.py", "core/event_id.py"} <= set(CORE)


@pytest.mark.parametrize("module", CORE)
def test_the_core_does_no_io_and_imports_inward_only(module: str) -> None:
    own = f"gateway.{module.partition('/')[0]}."
    for found in imports(module):
        where = f"gateway/{module}:{found.line} imports {found.module}"
        if found.package == "gateway":
            assert found.module.startswith((own, "gateway.core.", "gateway.errors.")), where
        else:
            assert found.package in sys.stdlib_module_names | CORE_LIBRARIES, where
            assert found.package not in IMPURE, where


@pytest.mark.parametrize("module", FETCH_SESSION)
def test_fetch_session_does_no_io(module: str) -> None:
    inward = (
        "gateway.core.",
        "gateway.errors.",
        "gateway.kafka.fetch.",
        "gateway.kafka.client.wire",
    )
    for found in imports(module):
        where = f"gateway/{module}:{found.line} imports {found.module}"
        if found.package == "gateway":
            assert found.module.startswith(inward), where
        else:
            assert found.package in sys.stdlib_module_names | CORE_LIBRARIES, where
            assert found.package not in IMPURE, where


@pytest.mark.parametrize("module", [*CORE, *FETCH_SESSION])
def test_the_core_reads_no_clock(module: str) -> None:
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            reads = node.value.id in {"datetime", "date"} and node.attr in CLOCKS
            assert not reads, f"gateway/{module}:{node.lineno} reads the clock"


@pytest.mark.parametrize(
    ("library", "allowed"),
    [("aiokafka", AIOKAFKA), ("aiohttp", AIOHTTP), ("opentelemetry", OPENTELEMETRY)],
)
def test_a_library_is_imported_only_in_its_folders(library: str, allowed: tuple[str, ...]) -> None:
    for module in MODULES:
        if not module.startswith(allowed):
            for found in imports(module):
                assert found.package != library, f"gateway/{module}:{found.line} imports {library}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports for types only do not count."""
    paths = {f"gateway.{module[:-3].replace('/', '.')}": module for module in MODULES}
    graph = {}
    for module in MODULES:
        found = {
            paths.get(each.module) or paths.get(each.module.rpartition(".")[0])
            for each in imports(module, types=False)
        }
        graph[module] = found - {None, module}
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize(
    ("inner", "outer"),
    [
        ("errors.py", ("gateway.",)),
        ("client/", ("gateway.core", "gateway.kafka", "gateway.http", "gateway.ops")),
        ("config.py", ("gateway.kafka", "gateway.http", "gateway.ops")),
        (
            "kafka/",
            ("gateway.http", "gateway.api", "gateway.app", "gateway.demo", "gateway.commands"),
        ),
        (
            "http/",
            (
                "gateway.kafka",
                "gateway.ops",
                "gateway.api",
                "gateway.app",
                "gateway.demo",
                "gateway.commands",
            ),
        ),
        ("metrics.py", ("gateway.kafka", "gateway.http", "gateway.ops", "gateway.app")),
        ("readiness.py", ("gateway.",)),
        ("ops/", ("gateway.api", "gateway.app", "gateway.demo", "gateway.commands")),
        ("conformance/", JUDGED),
    ],
)
def test_no_package_imports_an_outer_package(inner: str, outer: tuple[str, ...]) -> None:
    for module in MODULES:
        if module.startswith(inner):
            for found in imports(module):
                where = f"gateway/{module}:{found.line} imports {found.module}"
                assert not found.module.startswith(outer), where
