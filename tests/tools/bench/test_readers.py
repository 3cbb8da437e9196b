"""Blocks as the rivals send them."""

from __future__ import annotations

import pytest

from tests.tools.bench.payload import Payload
from tests.tools.bench.readers import Block, centrifugo, durable_streams

EVENT = Payload(3, 4)


@pytest.mark.parametrize(
    ("block", "read"),
    [
        (b"", Block([])),
        (b"\r\n5\r\ndata: {}", Block([])),
        (
            b'data: {"connect":{"subs":{"bench-1":{"recoverable":true,"epoch":"e"}}}}',
            Block([], b"e/0"),
        ),
        (
            b'\r\ndata: {"connect":{"subs":{"bench-1":{"epoch":"f","publications":'
            b'[{"data":{"n":3,"t":4},"offset":9}],"recovered":true,"was_recovering":true}}}}',
            Block([EVENT], b"f/9"),
        ),
        (
            b'data: {"channel":"bench-1","pub":{"data":{"n":3,"t":4},"offset":8}}',
            Block([EVENT], b"before/8"),
        ),
    ],
)
def test_a_block_of_centrifugo(block: bytes, read: Block) -> None:
    assert centrifugo(block, b"before/7") == read


def test_a_position_that_centrifugo_has_lost_ends_the_round() -> None:
    lost = b'data: {"connect":{"subs":{"x":{"epoch":"f","was_recovering":true}}}}'
    with pytest.raises(ConnectionError, match="lost"):
        centrifugo(lost, b"e/7")


@pytest.mark.parametrize(
    ("block", "read"),
    [
        (b'\r\nevent: data\ndata:[{"n":3,"t":4,"pad":"x"}]', Block([EVENT])),
        (b'event: control\ndata:{"streamNextOffset":"00_24"}', Block([], b"00_24")),
        (b": a comment", Block([])),
    ],
)
def test_a_block_of_durable_streams(block: bytes, read: Block) -> None:
    assert durable_streams(block, b"") == read
