"""A fetch session with one broker (KIP-227), without I/O.

The broker remembers which partitions a session fetches and from where. After one full request
a client sends only what has changed, and the broker answers only with partitions that have records
or news. The session numbers its requests; a broker that has lost a request, or the session itself,
says so, and the client sends a full request again.

`request` returns the bytes to send, `receive` takes the bytes that came back. One request is
outstanding at a time. `lost` must be called when a connection ends before its response came.

A session is in one of two states. `id` is 0 and `epoch` 0 in NEW; the broker assigns the id.

| state | event | next state | next request |
| --- | --- | --- | --- |
| NEW | response with a session id | OPEN, epoch 1 | changed partitions only |
| NEW | response with session id 0: the broker keeps none, or its cache is full | NEW | full |
| OPEN | response without error | OPEN, epoch + 1 | changed partitions only |
| OPEN | error 70, session id not found: evicted, or the broker was restarted | NEW | full |
| any | error 71, invalid session epoch | NEW | full |
| any | error 103 or 106, topic ids do not fit the session | NEW | full |
| any | another version is needed: a topic without an id | NEW | full |
| any | `lost`: what the broker received is unknown | NEW | full |

The epoch wraps from 2^31 - 1 to 1. A scan does not need a session: with `keep=False` each request
is full and has the epoch -1, and the broker stores nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.kafka.fetch.protocol import (
    FLEXIBLE,
    NEWEST,
    NONE,
    OLDEST,
    SESSIONS,
    TOPIC_IDS,
    FetchPosition,
    Limits,
    MalformedResponseError,
    Response,
    decode,
    encode,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.records import TopicPartition

NO_SESSION = (0, NONE)
FULL = (0, 0)
_EPOCH_MOST = (1 << 31) - 1

SESSION_NOT_FOUND, INVALID_SESSION_EPOCH = 70, 71
INCONSISTENT_TOPIC_ID, SESSION_TOPIC_ID_ERROR = 103, 106
RESTARTING = {
    SESSION_NOT_FOUND,
    INVALID_SESSION_EPOCH,
    INCONSISTENT_TOPIC_ID,
    SESSION_TOPIC_ID_ERROR,
}
"""Errors of a whole response after which a full request is sent."""


class FetchSession:
    """What one broker knows of the partitions that a client fetches from it.

    `versions` are the oldest and newest that the broker implements, as in ApiVersions. Raises
    `MalformedResponseError` where none of them is known here.
    """

    def __init__(self, versions: tuple[int, int], *, keep: bool = True) -> None:
        self._newest = min(versions[1], NEWEST)
        if max(versions[0], OLDEST) > self._newest:
            raise MalformedResponseError(f"fetch versions {versions} are not supported")
        self._keep = keep
        self._version = self._newest
        self._state = FULL if keep else NO_SESSION
        self._known: dict[TopicPartition, FetchPosition] = {}
        """What the broker was told of each partition, in the last requests of the session."""
        self._names: dict[bytes, str] = {}

    @property
    def version(self) -> int:
        """The version of the last request."""
        return self._version

    @property
    def checks_epochs(self) -> bool:
        """Whether the broker compares `last_epoch` with its log, and reports a divergence."""
        return self._newest >= FLEXIBLE

    def request(
        self, wanted: Mapping[TopicPartition, FetchPosition], limits: Limits, rack: str = ""
    ) -> bytes:
        """Return the body of the next request: every wanted partition is fetched by it.

        `rack` is the client's: the leader may name a follower that is nearer (KIP-392).
        """
        known = self._known
        changed = {log: at for log, at in wanted.items() if known.get(log) is not at}
        version = self._newest
        if version >= TOPIC_IDS and not all(at.topic_id for at in wanted.values()):
            version = FLEXIBLE
        if version != self._version:
            self._version = version
            self.lost()
        forgotten = []
        if self._state in {FULL, NO_SESSION}:
            changed = dict(wanted)
            self._names = {}
            self._known = changed
        else:
            # A topic that was recreated is another topic: the former one is removed.
            forgotten = [
                (log, at.topic_id)
                for log, at in known.items()
                if log not in wanted or wanted[log].topic_id != at.topic_id
            ]
            for log, _ in forgotten:
                del known[log]
            known |= changed
        for log, at in changed.items():
            self._names[at.topic_id] = log.topic
        return encode(version, limits, self._state, changed.items(), forgotten, rack)

    def receive(self, body: bytes) -> Response:
        """Return what the broker answered to the last request.

        Where its `error` is in `RESTARTING` the next request is a full one. Raises
        `MalformedResponseError`: the connection is to be closed.
        """
        response = decode(self._version, body, self._names)
        if self._state == NO_SESSION or self._version < SESSIONS:
            return response
        session, epoch = self._state
        if response.error or not response.session_id:
            self.lost()
        elif self._state == FULL:
            self._state = response.session_id, 1
        elif response.session_id != session:
            raise MalformedResponseError("a fetch response of another session")
        else:
            self._state = session, epoch % _EPOCH_MOST + 1
        return response

    def asked(self, log: TopicPartition) -> FetchPosition | None:
        """Return the position that the last response's records of a partition begin at."""
        return self._known.get(log)

    def lost(self) -> None:
        """Start again with a full request."""
        if self._keep:
            self._state = FULL
