"""How each server accepts an event over HTTP: path, headers and body of the request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple
from urllib.parse import quote_plus

from tests.tokens import mint
from tests.tools.bench.load import EVENT_TYPE

JSON = b"Content-Type: application/json\r\n"


class Form(NamedTuple):
    """A request that publishes an event.

    `path` contains `{channel}` or is the same for all channels. `body` returns the body for a
    channel and a payload. With `create` each channel is created first, with a PUT.
    """

    path: str
    body: Callable[[str, bytes], bytes]
    headers: Callable[[], bytes] = lambda: JSON
    create: bool = False


def _plain(channel: str, payload: bytes) -> bytes:
    """Return the payload: the channel is in the path."""
    return payload


def _mercure(channel: str, payload: bytes) -> bytes:
    """Return the fields of a private update: only tokens that name its topic receive it."""
    return (
        f"topic={channel}&type={EVENT_TYPE}&private=on&data={quote_plus(payload.decode())}"
    ).encode()


def _mercure_headers() -> bytes:
    token = mint("publisher", mercure={"publish": ["*"]})
    return (
        b"Content-Type: application/x-www-form-urlencoded\r\n"
        b"Authorization: Bearer %b\r\n" % token.encode()
    )


NCHAN = "nchan"
DURABLE = "durable-streams"
MERCURE = "mercure"

FORMS: Mapping[str, Form] = MappingProxyType(
    {
        NCHAN: Form("/pub/{channel}", _plain),
        DURABLE: Form("/{channel}", _plain, create=True),
        MERCURE: Form("/.well-known/mercure", _mercure, _mercure_headers),
    }
)
