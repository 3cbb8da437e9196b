"""Containment: an unexpected exception ends one block and does not propagate.

The core decides what the exception costs: one record, or one stream. The edge counts and logs the
exception (`gateway.supervise`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Containment(Protocol):
    """A `with` block that reports an `Exception` and suppresses it.

    Can be entered again unless it has `failed`.
    """

    failed: bool

    def __enter__(self) -> Self:
        """Begin the block."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """End the block; return True to suppress the exception."""


if TYPE_CHECKING:
    Contain = Callable[[], Containment]
