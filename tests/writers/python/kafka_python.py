"""Writes rows with kafka-python's defaults; prints each record's partition.

A separate program, since the import of kafka-python warns, and in the tests warnings are errors.
"""

from __future__ import annotations

import sys

from kafka import KafkaProducer


def main(bootstrap: str, topic: str) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    sent = []
    for line in sys.stdin.buffer:
        key, value, *rest = line.rstrip(b"\n").split(b"\t")
        names = [name.decode() for name in rest[::2]]
        headers = list(zip(names, rest[1::2], strict=True))
        sent.append(producer.send(topic, value=value, key=key, headers=headers))
    for record in sent:
        print(record.get(30).partition)
    producer.close()


main(*sys.argv[1:])
