"""A fetch session with one broker (KIP-227), without I/O.

The broker remembers which partitions a session fetches and from where. After one full request
a client sends only what has changed, and the broker answers only with partitions that have records
or changes. The session numbers its requests; a broker that has lost a request, or the session,
returns an error, and the client sends a full request again.

`request` returns the bytes to send, `receive` processes the response. One request is outstanding
at a time. `lost` must be called when a connection ends before its response has arrived.

A session is in one of two states. `id` is 0 and `epoch` 0 in NEW; the broker assigns the id.

| state | event | next state | next request |
| --- | --- | --- | --- |
| NEW | response with a session id | OPEN, epoch 1 | changed partitions only |
| NEW | response with session id 0: sessions disabled, or the broker's cache is full | NEW | full |
| OPEN | response without error | OPEN, epoch + 1 | changed partitions only |
| OPEN | error 70, session id not found: evicted, or the broker was restarted | NEW | full |
| any | error 71, invalid session epoch | NEW | full |
| any | error 103 or 106, topic ids do not fit the session | NEW | full |
| any | another version is needed: a topic without an id | NEW | full |
| any | `lost`: the broker may not have received the request | NEW | full |

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
    from collections.abc import Iterable, Mapping

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
    """The client's side of a fetch session with one broker.

    `versions` are the oldest and newest version that the broker implements, as in ApiVersions.
    Raises `MalformedResponseError` if this module supports none of them.
    """

    def __init__(self, versions: tuple[int, int], *, keep: bool = True) -> None:
        self._newest = min(versions[1], NEWEST)
        if max(versions[0], OLDEST) > self._newest:
            raise MalformedResponseError(f"fetch versions {versions} are not supported")
        self._keep = keep
        self._version = self._newest
        self._state = FULL if keep else NO_SESSION
        self.positions: dict[TopicPartition, FetchPosition] = {}
        """The last position sent to the broker for each partition of the session."""
        self._names: dict[bytes, str] = {}

    @property
    def version(self) -> int:
        """The version of the last request."""
        return self._version

    @property
    def checks_epochs(self) -> bool:
        """Whether the broker checks `last_epoch` against its log, to report divergence."""
        return self._newest >= FLEXIBLE

    def request(
        self,
        wanted: Mapping[TopicPartition, FetchPosition],
        limits: Limits,
        rack: str = "",
        touched: Iterable[TopicPartition] | None = None,
    ) -> bytes:
        """Return the body of the next request, which fetches every wanted partition.

        `rack` is the client's rack: the leader may name a nearer follower (KIP-392). `touched`
        contains every partition whose entry in `wanted` was set or removed since the last request,
        so that the others cost nothing; None: any may have changed.
        """
        known = self.positions
        changed: dict[TopicPartition, FetchPosition] = {}
        forgotten: list[tuple[TopicPartition, bytes]] = []
        for log in {**wanted, **known} if touched is None else touched:
            at, before = wanted.get(log), known.get(log)
            if at is before:
                continue
            if at is not None:
                changed[log] = at
            # A recreated topic has another id: remove the former one from the session.
            if before is not None and (at is None or at.topic_id != before.topic_id):
                forgotten.append((log, before.topic_id))
        self._choose_version(changed, wanted)
        if self._state in {FULL, NO_SESSION}:
            changed = dict(wanted)
            forgotten = []
            self._names = {}
            self.positions = changed
        else:
            for log, _ in forgotten:
                del known[log]
            known |= changed
        for log, at in changed.items():
            self._names[at.topic_id] = log.topic
        return encode(self._version, limits, self._state, changed.items(), forgotten, rack)

    def receive(self, body: bytes) -> Response:
        """Decode the response to the last request and update the session.

        If its `error` is in `RESTARTING`, the next request is full. Raises
        `MalformedResponseError`: the connection must be closed.
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

    def lost(self) -> None:
        """Reset the session: the next request is full."""
        if self._keep:
            self._state = FULL

    def _choose_version(
        self,
        changed: Mapping[TopicPartition, FetchPosition],
        wanted: Mapping[TopicPartition, FetchPosition],
    ) -> None:
        """Use the newest version in which every wanted partition can be named."""
        version = self._newest
        if version >= TOPIC_IDS:
            # With topic ids in use, the partitions that have not changed have one.
            asked = changed if self._version == version and self.positions else wanted
            if b"" in [at.topic_id for at in asked.values()]:
                version = FLEXIBLE
        if version != self._version:
            self._version = version
            self.lost()
