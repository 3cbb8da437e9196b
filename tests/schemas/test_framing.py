from uuid import UUID

import pytest
from confluent_kafka.schema_registry.serde import SchemaId

from gateway.schemas.errors import Malformed
from gateway.schemas.framing import HEADER, MAX_NESTING, Framed, schema_of, unframe

GUID = UUID("01234567-89ab-cdef-0123-456789abcdef")


@pytest.mark.parametrize("path", [None, [0], [1], [2, 0, 5], [70]])
def test_frame_of_confluent_is_read_from_value_and_header(path: list[int] | None) -> None:
    kind = "AVRO" if path is None else "PROTOBUF"
    expected = tuple(path or ())
    for schema in (
        SchemaId(kind, 123456, None, path),
        SchemaId(kind, None, str(GUID), path),
    ):
        by_id = schema.id is not None
        frame = schema.id_to_bytes() if by_id else schema.guid_to_bytes()
        framed = Framed(123456 if by_id else GUID, b"payload", expected)
        assert unframe(frame + b"payload", (), has_path=path is not None) == framed
        headers = (("other", b""), (HEADER, b"\0"), (HEADER, frame))
        assert unframe(b"payload", headers, has_path=path is not None) == framed
        assert schema_of(b"payload", headers) == framed.schema


def test_path_with_a_count_of_zero_is_the_first_type() -> None:
    assert unframe(b"\0\0\0\0\1\0rest", (), has_path=True) == Framed(1, b"rest", (0,))


@pytest.mark.parametrize(
    "value", [b"", b"\0", b"\0\0\0\1", b"\1" + bytes(15), b"{}", b"\2abcdefgh"]
)
def test_value_without_a_frame_is_told_from_a_framed_one(value: bytes) -> None:
    assert unframe(value, ()) is None
    assert schema_of(value, ()) is None


@pytest.mark.parametrize(
    "path",
    [b"", b"\x80", bytes([2 * MAX_NESTING + 2]), b"\x01", b"\x04\x00", b"\x02" + b"\xff" * 9],
)
def test_invalid_path_is_malformed(path: bytes) -> None:
    with pytest.raises(Malformed):
        unframe(b"\0\0\0\0\1" + path, (), has_path=True)
