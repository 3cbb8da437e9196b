"""Containment, as the core needs it: an unexpected exception ends one block, and nothing else.

The core does not decide what is done with such an exception: the edge counts and logs it
(`gateway.supervise`). It decides what is lost with it: one record, or one stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Containment(Protocol):
    """A `with` block that ends at an `Exception`, which is reported and not raised.

    It may be entered again as long as it has not `failed`.
    """

    failed: bool

    def __enter__(self) -> Self:
        """Begin the block."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """End the block; true for an exception that goes no further."""
        ...


if TYPE_CHECKING:
    Contain = Callable[[], Containment]
