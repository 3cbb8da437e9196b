from __future__ import annotations

import pytest
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.partitioner import key_hash, murmur2, partitioner

partition_counts = st.integers(1, 2000)


@pytest.mark.parametrize(
    ("key", "answer"),
    [
        # Values of the Java client, from Kafka's tests of `Utils.murmur2`.
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_equals_the_java_client(key: bytes, answer: int) -> None:
    assert murmur2(key) == answer % (1 << 32)


@given(st.binary(max_size=70))
def test_murmur2_equals_aiokafka(key: bytes) -> None:
    assert murmur2(key) == aiokafka_murmur2(key)


@given(st.binary(min_size=1, max_size=70), partition_counts)
def test_a_key_maps_to_the_partition_of_aiokafka(key: bytes, partitions: int) -> None:
    everywhere = list(range(partitions))
    assert partitioner("murmur2")(key, partitions) == DefaultPartitioner()(
        key, everywhere, everywhere
    )


@pytest.mark.parametrize(
    ("key", "checksum"),
    # The check value of CRC-32/ISO-HDLC, and two more; librdkafka uses the remainder by the count.
    [(b"123456789", 0xCBF43926), (b"a", 0xE8B7BE43), (b"", 0)],
)
def test_crc32_is_the_checksum_modulo_the_partition_count(key: bytes, checksum: int) -> None:
    by_crc32 = partitioner("crc32")
    assert [by_crc32(key, n) for n in (1, 7, 12, 1000)] == [checksum % n for n in (1, 7, 12, 1000)]


@given(st.binary(max_size=70), partition_counts, st.sampled_from(["murmur2", "crc32"]))
def test_every_key_has_a_partition(key: bytes, partitions: int, name: str) -> None:
    partition_of = partitioner("crc32" if name == "crc32" else "murmur2")
    assert 0 <= partition_of(key, partitions) < partitions
    hashed = key_hash("crc32" if name == "crc32" else "murmur2")(key)
    assert hashed % partitions == partition_of(key, partitions)
