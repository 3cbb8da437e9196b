"""The items of an iteration: messages of the server, and changes of the connection.

    Message
    ├── Event     an event of the user, or a broadcast
    ├── Gap       events are no longer available: fetch the state again, then continue
    └── Close     why the server ends this connection; the next one resumes where it left off
    Opened        a connection was opened
    Interrupted   a connection has ended or failed; the client reconnects

A plain `Message` is a control message of the gateway (`stream.…`) unknown to this client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

if TYPE_CHECKING:
    import builtins

RESERVED_PREFIX = "stream."
TOKEN_EXPIRED = "token_expired"  # noqa: S105 - a reason, not a secret

T = TypeVar("T")


class Message(msgspec.Struct, frozen=True):
    """One block of the stream.

    A stream that resumes from `id` delivers every later message. `previous_id` is the last event id
    before this message.
    """

    type: str
    data: str
    id: str
    previous_id: str

    def json(self) -> Any:
        """Return the payload parsed as JSON. Raises `msgspec.DecodeError` for invalid JSON."""
        return msgspec.json.decode(self.data)

    def decode(self, wanted: builtins.type[T]) -> T:
        """Return the payload as a dataclass, `msgspec.Struct` or other type of msgspec.

        Raises `msgspec.ValidationError` where the payload does not fit, and
        `msgspec.DecodeError` where it is not valid JSON.
        """
        return msgspec.json.decode(self.data, type=wanted)


class Event(Message, frozen=True):
    """An event of the user, or a broadcast."""


class _Reasoned(Message, frozen=True):
    @property
    def reason(self) -> str:
        """The reason in the payload, or the whole payload of an unknown format."""
        try:
            return str(msgspec.json.decode(self.data, type=dict[str, Any])["reason"])
        except (msgspec.DecodeError, KeyError):
            return self.data


class Gap(_Reasoned, frozen=True):
    """Events are no longer available; the caller must fetch the state again.

    `reason` is `expired`, `limit`, `reset`, `invalid` or `schema`.
    """


class Close(_Reasoned, frozen=True):
    """The server is about to end this connection; no event is lost.

    `reason` is `draining`, `token_expired`, `revoked`, `replaced`, `slow`, `max_age` or `closed`.
    """


class Opened(NamedTuple):
    """The stream is open; `resumed` where it was opened with an event id."""

    resumed: bool


class Interrupted(NamedTuple):
    """The connection has ended or failed; the next attempt follows after `retry_in` seconds."""

    reason: str
    retry_in: float


_OWN: dict[str, type[Message]] = {"stream.gap": Gap, "stream.close": Close}

Item = Message | Opened | Interrupted
"""An item of the iteration."""


def message(event_type: str, data: str, event_id: str, previous_id: str) -> Message:
    """Return the message of a block, in the class of its type."""
    kind = _OWN.get(event_type)
    if kind is None:
        kind = Message if event_type.startswith(RESERVED_PREFIX) else Event
    return kind(event_type, data, event_id, previous_id)
