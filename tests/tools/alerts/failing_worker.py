"""A worker with a bug: its watch on retention raises an exception that nothing expects."""

from __future__ import annotations

from gateway.cli import main
from gateway.kafka.health import RetentionWatch


async def fail(self: RetentionWatch) -> None:
    raise RuntimeError


if __name__ == "__main__":
    RetentionWatch.run = fail  # type: ignore[method-assign]
    main()
