"""Sinks of streams without a simulated client, also such that raise."""

from __future__ import annotations

from collections.abc import Callable

from gateway.core.stream import Stream


class Discard:
    """A sink that discards all bytes."""

    chunked = False

    def bind(self, stream: Stream) -> None:
        pass

    def write(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        pass


class Keep(Discard):
    """A sink that stores its writes."""

    def __init__(self, *, chunked: bool = True) -> None:
        self.chunked = chunked
        self.data: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.data.append(data)


class Defect(Exception):
    """An unexpected exception."""


def fail(*_: object, **__: object) -> None:
    raise Defect


class Brittle(Keep):
    """A sink that raises at some writes, or when it is closed."""

    def __init__(self, fails: Callable[[], bool], *, at_close: bool = False) -> None:
        super().__init__()
        self.ended = False
        self._fails = fails
        self._at_close = at_close

    def write(self, data: bytes) -> None:
        if self._fails():
            raise Defect
        super().write(data)

    def close(self) -> None:
        self.ended = True
        if self._at_close:
            raise Defect


def never() -> bool:
    return False


def always() -> bool:
    return True


def from_write(number: int) -> Callable[[], bool]:
    writes = iter(range(1 << 30))
    return lambda: next(writes) >= number
