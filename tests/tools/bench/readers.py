"""Blocks of the rivals' streams: their events, and the position from which a client resumes."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from tests.tools.bench.payload import Payload


class Block(NamedTuple):
    """The events of a block; `last_id` is empty if the block has no position."""

    events: list[Payload]
    last_id: bytes = b""


class _Publication(msgspec.Struct):
    data: Payload
    offset: int


class _Subscription(msgspec.Struct):
    epoch: str = ""
    offset: int = 0
    publications: list[_Publication] = []
    recovered: bool = False
    was_recovering: bool = False


class _Connected(msgspec.Struct):
    subs: dict[str, _Subscription] = {}


class _Push(msgspec.Struct):
    """A message of Centrifugo's unidirectional protocol."""

    connect: _Connected | None = None
    pub: _Publication | None = None


class _Control(msgspec.Struct):
    streamNextOffset: str  # noqa: N815 - a field of the protocol


_push = msgspec.json.Decoder(_Push).decode
_events = msgspec.json.Decoder(list[Payload]).decode
_control = msgspec.json.Decoder(_Control).decode


def centrifugo(block: bytes, last_id: bytes) -> Block:
    """Return a block of Centrifugo: the answer to the connect command, or a publication.

    A position is an epoch and an offset; only the answer names the epoch.
    """
    _, found, data = block.partition(b"data: ")
    if not found:
        return Block([])
    push = _push(data)
    if push.pub is not None:
        epoch = last_id.partition(b"/")[0]
        return Block([push.pub.data], b"%b/%d" % (epoch, push.pub.offset))
    if push.connect is None:
        return Block([])
    (subscription,) = push.connect.subs.values()
    if subscription.was_recovering and not subscription.recovered:
        raise ConnectionError("the position is lost")
    missed = subscription.publications
    offset = missed[-1].offset if missed else subscription.offset
    return Block([each.data for each in missed], b"%b/%d" % (subscription.epoch.encode(), offset))


def durable_streams(block: bytes, last_id: bytes) -> Block:
    """Return a block of the Durable Streams protocol: an array of events, or the next offset."""
    head, _, data = block.partition(b"\ndata:")
    if head.endswith(b"event: control"):
        return Block([], _control(data).streamNextOffset.encode())
    return Block(_events(data) if head.endswith(b"event: data") else [])
