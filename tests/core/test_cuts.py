"""Every way to resume, with the connection cut at any byte: the client gets the same events.

Each case leads a client to a stream with events, and runs once without a cut. Then it runs again
for each number of bytes after which the connection can break; the client resumes with its last id,
and must have received the same events and gaps in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from gateway.core import replay_plan, runs
from gateway.core.gap import GapReason
from gateway.core.records import OffsetPosition
from tests.core.clients import Client
from tests.core.stage import Stage, user_id

Case = tuple[Stage, Client]


def _away(stage: Stage, *, before: int = 2) -> Case:
    """Return a client that has received events and disconnected."""
    client = stage.client()
    stage.connect(client)
    stage.write(before)
    stage.broadcast()
    stage.worker.settle()
    client.drop().lost()
    return stage, client


def from_memory() -> Case:
    stage, client = _away(Stage())
    stage.write(4)
    stage.write(2, b"b")
    stage.broadcast(2)
    stage.worker.settle()
    return stage, client


def from_kafka() -> Case:
    stage, client = from_memory()
    stage.replace_worker()
    return stage, client


def from_kafka_without_warming() -> Case:
    stage, client = _away(Stage(warm_ms=0))
    stage.write(3)
    stage.broadcast(2)
    stage.replace_worker()
    stage.connect(stage.client(user=b"b"))
    stage.write(2)
    return stage, client


def with_small_tails() -> Case:
    stage, client = _away(Stage(tail_bytes=1000, warm_ms=0))
    stage.write(5)
    stage.broadcast(3)
    stage.worker.settle()
    return stage, client


def beyond_the_limit_in_memory() -> Case:
    stage, client = _away(Stage(max_events=3))
    stage.write(6)
    stage.broadcast(5)
    stage.worker.settle()
    return stage, client


def beyond_the_limit_in_kafka() -> Case:
    stage, client = beyond_the_limit_in_memory()
    stage.replace_worker()
    return stage, client


def expired() -> Case:
    stage, client = _away(Stage())
    stage.write(6)
    stage.kafka.trim(5)
    stage.replace_worker()
    return stage, client


def reset_by_recreation() -> Case:
    stage, client = _away(Stage())
    client.before_recreation(stage.kafka.log, stage.worker, 1)
    stage.world.recreate(stage.kafka.log)
    stage.write(4)
    stage.broadcast()
    stage.replace_worker()
    return stage, client


def reset_by_another_cluster() -> Case:
    stage, client = _away(Stage())
    for log in list(stage.world.logs):
        stage.world.recreate(log)
    stage.world.tag = b"tagB"
    stage.write(2)
    stage.broadcast(2)
    stage.replace_worker()
    return stage, client


def invalid() -> Case:
    stage, client = _away(Stage())
    client.last_id = "garbage"
    return stage, client


def since() -> Case:
    stage = Stage()
    stage.write(5)
    stage.broadcast(2)
    return stage, stage.client(since=stage.world.now - 35)


def beginning_of_the_log() -> Case:
    stage = Stage()
    stage.write(3)
    client = stage.client()
    client.last_id = user_id(OffsetPosition(0, 0, False))
    client.expects = {log: (0, stage.world.logs[log].end) for log in stage.world.logs}
    client.expects[stage.kafka.log] = (0, 0)
    return stage, client


CASES: dict[Callable[[], Case], set[GapReason]] = {
    from_memory: set(),
    from_kafka: set(),
    from_kafka_without_warming: set(),
    with_small_tails: set(),
    beyond_the_limit_in_memory: {GapReason.LIMIT},
    beyond_the_limit_in_kafka: {GapReason.LIMIT},
    expired: {GapReason.EXPIRED},
    reset_by_recreation: {GapReason.RESET},
    reset_by_another_cluster: {GapReason.RESET},
    invalid: set(),  # judged by the client itself
    since: set(),
    beginning_of_the_log: set(),
}


def seen(client: Client) -> tuple[list[int], list[tuple[GapReason, int | None, int | None]]]:
    """Return a client's events and gaps, sorted: the order between partitions is open."""
    return sorted(client.received), sorted((g.reason, g.first, g.next) for g in client.gaps)


def _cuts(total: bytes) -> Iterator[int]:
    """Yield every offset around a line break, and every seventh elsewhere."""
    for cut in range(len(total)):
        if cut % 7 == 0 or b"\n" in total[max(0, cut - 2) : cut + 2]:
            yield cut


def finish(stage: Stage, client: Client) -> None:
    """Write live events, and judge the client."""
    stage.write(2)
    stage.broadcast()
    stage.worker.settle()
    stage.judged(client)


@pytest.mark.no_cover  # as in test_model.py
@pytest.mark.parametrize(("case", "reasons"), CASES.items(), ids=[c.__name__ for c in CASES])
def test_a_connection_cut_at_any_byte_delivers_the_same_events(
    case: Callable[[], Case],
    reasons: set[GapReason],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runs, "PIECE", 60)  # two events
    monkeypatch.setattr(replay_plan, "SHORT", 1000)
    stage, client = case()
    connection = stage.connect(client)
    total = connection.delivered
    assert total.endswith(b"\n\n")
    finish(stage, client)
    whole = seen(client)
    assert {reason for reason, _, _ in whole[1]} == reasons
    assert whole[0], "a case without events shows nothing"

    for cut in _cuts(total):
        stage, client = case()
        connection = stage.connect(client, cut=cut)
        connection.lost()
        stage.connect(client)
        finish(stage, client)
        assert seen(client) == whole, f"cut after {total[:cut]!r}"
