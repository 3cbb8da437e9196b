"""What an iteration over a stream gives: what the server said, and what became of the connection.

    Message
    ├── Event     an event of the user, or a broadcast
    ├── Gap       something can no longer be seen: fetch the state again, then go on
    └── Close     why the server ends this connection; the next one goes on where it was
    Opened        a connection is there
    Interrupted   it has ended, or did not come about; there will be another

A plain `Message` is the gateway's own (`stream.…`), of a kind that this client does not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

if TYPE_CHECKING:
    import builtins

RESERVED_PREFIX = "stream."
TOKEN_EXPIRED = "token_expired"  # noqa: S105 a reason, no secret

T = TypeVar("T")


class Message(msgspec.Struct, frozen=True):
    """What the server said in one block of the stream.

    `id` stands behind it: a stream that begins with it brings all that came later. `previous_id`
    was the last one before it.
    """

    type: str
    data: str
    id: str
    previous_id: str

    def json(self) -> Any:
        """Return the payload as JSON has it. Raises `msgspec.DecodeError` where it is none."""
        return msgspec.json.decode(self.data)

    def decode(self, wanted: builtins.type[T]) -> T:
        """Return the payload as a dataclass, a `msgspec.Struct` or whatever msgspec can make.

        Raises `msgspec.ValidationError` where the payload does not fit, and
        `msgspec.DecodeError` where it is no JSON.
        """
        return msgspec.json.decode(self.data, type=wanted)


class Event(Message, frozen=True):
    """An event of the user, or one for everybody."""


class _Reasoned(Message, frozen=True):
    @property
    def reason(self) -> str:
        """The server's word for it; the whole payload where there is no such word."""
        try:
            return str(msgspec.json.decode(self.data, type=dict[str, Any])["reason"])
        except (msgspec.DecodeError, KeyError):
            return self.data


class Gap(_Reasoned, frozen=True):
    """A stretch that can no longer be seen; the state has to be fetched again.

    `reason` is `expired`, `limit`, `reset` or `invalid`.
    """


class Close(_Reasoned, frozen=True):
    """The server is about to end this connection; nothing is lost by it.

    `reason` is `draining`, `token_expired`, `revoked`, `replaced`, `slow`, `max_age` or `closed`.
    """


class Opened(NamedTuple):
    """The stream is open; `resumed` where it goes on from an id."""

    resumed: bool


class Interrupted(NamedTuple):
    """The connection has ended, or did not come about; the next try is `retry_in` seconds later."""

    reason: str
    retry_in: float


_OWN: dict[str, type[Message]] = {"stream.gap": Gap, "stream.close": Close}

Item = Message | Opened | Interrupted
"""What an iteration gives."""


def message(event_type: str, data: str, event_id: str, previous_id: str) -> Message:
    """Return the block as what it is."""
    kind = _OWN.get(event_type)
    if kind is None:
        kind = Message if event_type.startswith(RESERVED_PREFIX) else Event
    return kind(event_type, data, event_id, previous_id)
