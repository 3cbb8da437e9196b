from __future__ import annotations

from typing import Any

import pytest

from gateway.app import Worker
from tests.api.described import EVERYTHING, of_operations, settings

REMEDY = "describe it in gateway/api/operations.yaml"


def routes(worker: Worker) -> dict[str, set[str]]:
    """Return the methods of each path in the form of a description."""
    found: dict[str, set[str]] = {}
    app: Any = worker._ops.app  # noqa: SLF001 - the test reads the registered routes
    for route in app.router.routes():
        if route.method != "HEAD":
            path = route.resource.canonical
            found.setdefault(path, set()).add(route.method.lower())
    return found


@pytest.mark.parametrize("changed", [{}, EVERYTHING], ids=["without a token", "with a token"])
async def test_every_route_of_the_operations_listener_is_described(
    changed: dict[str, object],
) -> None:
    described = {path: set(methods) for path, methods in of_operations(**changed)["paths"].items()}
    assert described == routes(Worker(settings(**changed))), REMEDY


def test_operations_require_the_token_if_set_except_probes() -> None:
    for path, methods in of_operations(**EVERYTHING)["paths"].items():
        for operation in methods.values():
            asset = "/ops/assets/{name}"
            open_path = path in {"/healthz", "/readyz", "/", "/ops", asset, "/ops/session"}
            assert ("security" in operation) is not open_path, path
    assert of_operations()["components"]["securitySchemes"] == {}
