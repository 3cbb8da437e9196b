from __future__ import annotations

import asyncio

from gateway.readiness import NotReadyReason, Readiness
from tests.eventually import DEADLINE


def ready() -> Readiness:
    readiness = Readiness()
    readiness.clear(NotReadyReason.STARTING)
    return readiness


def test_a_worker_starts_in_doubt() -> None:
    readiness = Readiness()
    assert not readiness
    assert not readiness.ever
    assert readiness.report() == {
        "ready": False,
        "reasons": [{"reason": "starting", "detail": "the worker has not reached Kafka yet"}],
    }


def test_it_is_ready_when_every_doubt_is_settled() -> None:
    readiness = Readiness()
    readiness.set_reason(NotReadyReason.TOPICS, "no topic user-events")
    assert not readiness.clear(NotReadyReason.TOPICS)
    assert not readiness
    assert readiness.clear(NotReadyReason.STARTING, NotReadyReason.KAFKA)
    assert readiness
    assert readiness.ever
    assert readiness.report() == {"ready": True, "reasons": []}


def test_only_becoming_ready_is_news() -> None:
    readiness = ready()
    assert not readiness.clear(NotReadyReason.STARTING)
    readiness.set_reason(NotReadyReason.KAFKA, "it does not answer")
    assert readiness.clear(NotReadyReason.KAFKA)


def test_a_doubt_is_news_once_for_each_thing_it_says() -> None:
    readiness = ready()
    assert readiness.set_reason(NotReadyReason.KAFKA, "no route")
    assert not readiness.set_reason(NotReadyReason.KAFKA, "no route")
    assert readiness.set_reason(NotReadyReason.KAFKA, "refused")
    assert readiness.report()["reasons"] == [{"reason": "kafka", "detail": "refused"}]


def test_first_readiness_is_remembered() -> None:
    readiness = ready()
    readiness.set_reason(NotReadyReason.KAFKA, "it does not answer")
    assert not readiness
    assert readiness.ever


def test_draining_is_a_doubt_that_others_do_not_settle() -> None:
    readiness = ready()
    assert not readiness.draining
    readiness.set_reason(NotReadyReason.DRAINING, "it is being stopped")
    readiness.clear(NotReadyReason.STARTING, NotReadyReason.KAFKA, NotReadyReason.TOPICS)
    assert readiness.draining
    assert not readiness


def test_only_changes_are_announced() -> None:
    changes: list[bool] = []
    readiness = Readiness(lambda: changes.append(bool(readiness)))
    for _ in range(2):
        readiness.clear(NotReadyReason.STARTING)
    for _ in range(2):
        readiness.degrade(NotReadyReason.TOPICS, "no topic a")
    for _ in range(2):
        readiness.set_reason(NotReadyReason.TOPICS, "no topic a or b")
    assert changes == [True, True, False]


async def test_the_first_time_can_be_waited_for() -> None:
    readiness = Readiness()
    waiting = asyncio.create_task(readiness.first())
    await asyncio.sleep(0)
    assert not waiting.done()
    readiness.clear(NotReadyReason.STARTING)
    readiness.set_reason(NotReadyReason.KAFKA, "it does not answer")
    async with asyncio.timeout(DEADLINE):
        await waiting
        await readiness.first()


def test_a_degraded_worker_is_ready_and_reports_the_reason() -> None:
    readiness = Readiness()
    assert readiness.degrade(NotReadyReason.TOPICS, "no topic a")
    assert not readiness.degrade(NotReadyReason.TOPICS, "no topic a")
    assert readiness.clear(NotReadyReason.STARTING)
    assert readiness
    assert readiness.ever
    reason = {"reason": "topics", "detail": "no topic a"}
    assert readiness.report() == {"ready": True, "reasons": [reason]}
    assert readiness.set_reason(NotReadyReason.TOPICS, "no topic a or b")
    assert not readiness
    assert readiness.degrade(NotReadyReason.TOPICS, "no topic a")
    assert readiness
    readiness.clear(NotReadyReason.TOPICS)
    assert readiness.report() == {"ready": True, "reasons": []}
