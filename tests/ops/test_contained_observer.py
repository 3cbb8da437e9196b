from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest

from gateway.core.observer import Observer
from gateway.ops.contained_observer import contained
from gateway.supervise import Part, Supervisor


class Raising:
    """An observer whose methods raise."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[object, ...]]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        def call(*arguments: object) -> None:
            self.calls.append((name, arguments))
            raise ZeroDivisionError

        return call


class SeenFailures:
    def __init__(self) -> None:
        self.seen: list[tuple[Part, type]] = []

    def failed(self, part: Part, error: BaseException) -> None:
        self.seen.append((part, type(error)))


@pytest.mark.parametrize(
    "name", ["sent", "gap", "opened", "closed", "unreadable", "unknown_type", "misplaced"]
)
def test_an_exception_of_the_observer_is_reported_and_reaches_no_caller(name: str) -> None:
    raising, failures = Raising(), SeenFailures()
    observer = contained(cast("Observer", raising), Supervisor(failures))
    method: Any = getattr(observer, name)
    method(1, "two")
    assert raising.calls == [(name, (1, "two"))]
    assert failures.seen == [(Part.METRICS, ZeroDivisionError)]
