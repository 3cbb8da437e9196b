"""Types that a scan and its reader share: a fetched record, and the summary of the scan."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from gateway.core.records import TopicPartition


class Fetched(Protocol):
    """A record as the edge fetches it, before its conversion to `Record`."""

    @property
    def offset(self) -> int:
        """The record's offset."""
        ...

    @property
    def key(self) -> bytes | None:
        """The record's key: the user id."""
        ...


FetchedT = TypeVar("FetchedT", bound=Fetched)


class Summary(NamedTuple):
    """Summary of a scan: its partition, the numbers of its streams, and its counts."""

    log: TopicPartition
    streams: tuple[int, ...]
    records: int
    events: int
    """Events handed over to streams."""
