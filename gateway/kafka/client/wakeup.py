"""An awaitable that resumes its task within the callback that resolves it.

A future resumes its task in the next turn of the event loop, and each turn costs a system call and
some microseconds. A fetch cycle waits twice, for the response and for the end of its pause, so it
takes two turns with this awaitable and four with futures.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from contextvars import Context

T = TypeVar("T")


class Wakeup(Generic[T]):
    """A future-like object (see `asyncio.isfuture`) that one task awaits, once.

    `set_result` runs the task until its next wait if no other task is running, and must be the last
    step of its callback. After `set_exception` and a cancellation the task runs in the next turn.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_context",
        "_done",
        "_error",
        "_loop",
        "_result",
        "_resume",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio_future_blocking = False
        self._loop = loop
        self._resume: Callable[[Wakeup[T]], object] | None = None
        self._context: Context | None = None
        self._done = False
        self._result: Any = None
        self._error: BaseException | None = None

    def done(self) -> bool:
        """Return whether there is a result or an exception."""
        return self._done

    def set_result(self, result: T) -> None:
        """Set the result and resume the task."""
        self._done = True
        self._result = result
        if self._resume is None:
            return
        assert self._context is not None
        if asyncio.current_task(self._loop) is None:
            self._context.run(self._resume, self)
        else:
            self._loop.call_soon(self._resume, self, context=self._context)

    def set_exception(self, error: BaseException) -> None:
        """Set the exception that the task receives."""
        self._done = True
        self._error = error
        if self._resume is not None:
            self._loop.call_soon(self._resume, self, context=self._context)

    # Called by the task.

    def __await__(self) -> Generator[Wakeup[T], None, T]:
        """Wait for the result and return it, or raise the exception."""
        if not self._done:
            self._asyncio_future_blocking = True
            yield self
        return self.result()

    def result(self) -> T:
        """Return the result, or raise the exception."""
        if self._error is not None:
            raise self._error
        result: T = self._result
        return result

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop of the task."""
        return self._loop

    def add_done_callback(self, resume: Callable[[Wakeup[T]], object], *, context: Context) -> None:
        """Set the function that resumes the task."""
        self._resume, self._context = resume, context

    def cancel(self, msg: object = None) -> bool:
        """Cancel the wait; return whether it was not over."""
        del msg
        if self._done:
            return False
        self.set_exception(asyncio.CancelledError())
        return True


async def sleep_until(due: float, loop: asyncio.AbstractEventLoop) -> None:
    """Return at a time of the loop's clock."""
    wakeup = Wakeup[None](loop)
    timer = loop.call_at(due, wakeup.set_result, None)
    try:
        await wakeup
    finally:
        timer.cancel()
