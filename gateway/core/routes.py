"""Which logs a user's stream follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.log import Log

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.hub import Hub
    from gateway.core.log import Topic
    from gateway.core.stream import Feed


class Routes:
    """The user's partition, computed as the producers compute it, and the broadcast log if any."""

    def __init__(
        self,
        hub: Hub,
        topic: Topic,
        broadcast: Topic | None,
        partitioner: Callable[[bytes, int], int],
    ) -> None:
        self._topic = topic
        self._partitioner = partitioner
        shared = () if broadcast is None else (hub.feed(Log(broadcast.name, 0), broadcast),)
        self._feeds = [
            (hub.feed(Log(topic.name, partition), topic), *shared)
            for partition in range(topic.partitions)
        ]

    def feeds(self, user: bytes) -> tuple[Feed, ...]:
        """Return the feeds of a user's streams: the same tuple for all users of a partition."""
        return self._feeds[self._partitioner(user, self._topic.partitions)]
