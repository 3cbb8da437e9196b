"""The input of an Avro reader: a binary value, and the bytes of JSON that it may become."""

from __future__ import annotations

from gateway.schemas.errors import Malformed, TooLarge


class Input:
    """A binary value that is being read. Raises `IndexError` or `Malformed` at its end."""

    __slots__ = ("at", "data", "room")

    def __init__(self, data: bytes, room: int) -> None:
        self.data = data
        self.at = 0
        self.room = room
        """Bytes of JSON that the value may still become."""

    def spend(self, size: int) -> None:
        """Count bytes of the output. Raises `TooLarge`."""
        self.room -= size
        if self.room < 0:
            raise TooLarge("its JSON is larger than a record may be")

    def long(self) -> int:
        """Return the next varint, zigzag decoded."""
        data, at = self.data, self.at
        byte = data[at]
        at += 1
        if byte >= 0x80:
            value, shift = byte & 0x7F, 7
            while byte >= 0x80:
                byte = data[at]
                at += 1
                value |= (byte & 0x7F) << shift
                shift += 7
                if shift > 70:
                    raise Malformed("a number has more than 64 bits")
            if value >> 64:
                raise Malformed("a number has more than 64 bits")
            byte = value
        self.at = at
        return (byte >> 1) ^ -(byte & 1)

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        begin = self.at
        end = begin + size
        if size < 0 or end > len(self.data):
            raise Malformed("the value ends early")
        self.at = end
        return self.data[begin:end]
