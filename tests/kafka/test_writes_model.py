"""The publisher against a simulated broker with random faults, judged by the simulated log."""

from __future__ import annotations

import asyncio
import json
import random
import warnings
from collections import Counter, defaultdict, deque
from contextlib import suppress
from typing import Any

import pytest
from aiokafka.record.memory_records import MemoryRecords

from gateway.core.records import TopicPartition
from gateway.errors import PublishError
from gateway.kafka import batch_writer
from gateway.publisher import EventPublisher
from tests.brokers.scripted import Request
from tests.kafka.scripted_writes import TOPIC, Writes, number_of, read_batches, scripted, written

DUPLICATE, OUT_OF_ORDER, TOO_LARGE = 46, 45, 10

MAX_BATCH = 1200

FAULTS = [*["none"] * 12, "lost", "cut", "forgotten", "duplicate"]

CODES = [6, 7, 19, 20, 29, 47, 56]
"""Not leader, timed out, too few replicas before and after the append, no right, fenced, disk."""

UNAPPENDED = {19, 29, 47}

CALLERS, EVENTS = 8, 40


class Log:
    """A partition that accepts each batch of a producer once, in the order of its numbers."""

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.batches: defaultdict[int, deque[tuple[int, int]]] = defaultdict(
            lambda: deque(maxlen=5)
        )

    def append(self, batch: bytes) -> int:
        """Append a batch unless it was appended; return the error code."""
        producer, number = number_of(batch)
        values = [json.loads(record.value)["data"] for record in _records(batch)]
        if len(batch) > MAX_BATCH:
            return TOO_LARGE
        recent = self.batches[producer]
        if (number, len(values)) in recent:
            return DUPLICATE
        if recent and sum(recent[-1]) != number:
            return OUT_OF_ORDER
        recent.append((number, len(values)))
        self.records += values
        return 0


def _records(batch: bytes) -> list[Any]:
    found = MemoryRecords(batch)
    records: list[Any] = []
    while (each := found.next_batch()) is not None:
        records += each
    return records


class FaultyBroker:
    """Answers writes, some of them wrongly."""

    def __init__(self, broker: Writes, seed: int) -> None:
        self.broker = broker
        self.random = random.Random(seed)
        self.logs: defaultdict[TopicPartition, Log] = defaultdict(Log)

    def answer(self, request: Request) -> bytes | None:
        self.broker.script.append(self.answer)
        fault = self.random.choice([*FAULTS, *CODES])
        ((log, batch),) = read_batches(request.body).items()
        kept = self.logs[log]
        code = 0
        if fault not in UNAPPENDED and fault != "cut" and self.random.random() < 0.9:
            code = kept.append(batch)
            if code == DUPLICATE and fault != "duplicate":
                code = 0
        elif fault in {"none", "forgotten", "duplicate"}:
            fault = "cut"
        if isinstance(fault, int):
            code = fault
        elif fault in {"lost", "cut"}:
            self.broker.server.writers[-1].transport.abort()
            return None
        elif fault == "forgotten":  # KIP-360: any number is accepted after that
            kept.batches.clear()
        return written(request, {log: code})


@pytest.mark.parametrize("seed", range(6))
async def test_each_event_is_written_as_its_caller_was_told(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_writer, "RETRY_SECONDS", 0.002)
    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    told: dict[tuple[int, int], str] = {}
    chance = random.Random(seed)

    async def call(publisher: EventPublisher, caller: int) -> None:
        for number in range(EVENTS):
            told[caller, number] = "in doubt"  # a cancelled caller does not know
            data = {"event": [caller, number], "text": "x" * chance.choice([0, 0, 0, 200, 2000])}
            try:
                await publisher.publish("alice", "import.progress", data)
                told[caller, number] = "written"
            except PublishError as error:
                told[caller, number] = "in doubt" if error.may_be_written else "refused"

    async with scripted() as broker:
        faulty = FaultyBroker(broker, seed)
        broker.script.append(faulty.answer)
        with warnings.catch_warnings(record=True) as warned:
            async with EventPublisher(broker.server.address, timeout=5.0) as publisher:
                callers = [asyncio.create_task(call(publisher, each)) for each in range(CALLERS)]
                for task in callers[:2]:
                    asyncio.get_running_loop().call_later(chance.random() / 5, task.cancel)
                for task in callers:
                    with suppress(asyncio.CancelledError):
                        await task
        log = [tuple(record["event"]) for record in faulty.logs[TopicPartition(TOPIC, 0)].records]
    times = Counter(log)
    assert {times[event] for event, outcome in told.items() if outcome == "written"} == {1}
    assert {times[event] for event, outcome in told.items() if outcome == "refused"} == {0}
    assert max(times.values()) == 1
    for caller in range(CALLERS):
        numbers = [number for each, number in log if each == caller]
        assert numbers == sorted(numbers)
    assert not reported
    assert not [each for each in warned if each.category is ResourceWarning]
