"""Record batches as a test writes them, and as they are unpacked."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from gateway.core.records import Record
from gateway.kafka.fetch.batches import (
    LARGE,
    unpack,
)
from tests.brokers.batches import (
    CODECS,
    Row,
    batch,
    sealed,
)

END = 1000
"""High watermark of the log that all batches here are from."""

TRANSACTIONAL, MARKER = 0x10, 0x30
"""Attributes of a batch."""

EVERY_CODEC = [None, *CODECS]
TIMESTAMP = 1_700_000_000_000


class Fetched:
    """The unpacked offsets and values, the next offset, and the skipped records."""

    def __init__(
        self, data: bytes, position: int = 0, aborted: Sequence[tuple[int, int]] = ()
    ) -> None:
        self.skipped: list[tuple[int, str]] = []
        self.records: list[Record] = []
        self.following = position
        self.large = 0
        for part in unpack(data, position, END, aborted, lambda *what: self.skipped.append(what)):
            if part is LARGE:
                self.large += 1
                continue
            assert part.following > self.following, "each batch leads on"
            self.records += part.records
            self.following = part.following

    @property
    def values(self) -> list[tuple[int, bytes | None]]:
        return [(record.offset, record.value) for record in self.records]


def rows(*values: bytes) -> list[Row]:
    return [Row(b"key", value) for value in values]


def with_body(body: bytes, number: int = 1) -> bytes:
    """Return a batch with a valid checksum whose records are these bytes."""
    sound = batch(rows(b"a"))
    head = sound[:8] + struct.pack(">i", 49 + len(body)) + sound[12:57]
    return sealed(head + struct.pack(">i", number) + body)
