"""The interface between a hub and its edge: the hub's options, and its calls to the edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.core.event_id import Version

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.core.containment import Contain
    from gateway.core.feed import PartitionFeed
    from gateway.core.limits import Limits
    from gateway.core.observer import Observer
    from gateway.core.partitioner import KeyHash


class HubOptions(NamedTuple):
    """Options of a hub, from the settings."""

    replay: Limits
    key_hash: KeyHash
    """That of the partitioner by which producers are expected to write."""
    tail_bytes: int
    retry_ms: int
    heartbeat: float
    """Seconds of silence after which a stream gets a heartbeat."""
    slow: float
    """Seconds after which a stuck stream is closed."""
    id_version: Version = Version.ONE
    """The version of the event ids that are written."""


class Edge(NamedTuple):
    """The calls of a hub to its edge."""

    observer: Observer
    wake: Callable[[PartitionFeed], None]
    """Called with each feed that needs a scan."""
    busy: Callable[[], None]
    """Called when `Hub.step` has work."""
    contain: Contain
    """Returns a block that reports and suppresses an unexpected exception."""
