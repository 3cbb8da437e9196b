"""A worker whose numeric settings all have their lowest or highest value serves a stream."""

from __future__ import annotations

import pytest
from aiokafka import AIOKafkaProducer
from annotated_types import Ge, Le

from gateway.config import Settings
from tests.conftest import MakeTopics, StartWorker
from tests.integration.conftest import OpenStream, SetUp
from tests.records import RecordWriter


def bounds(kind: type[Ge | Le]) -> dict[str, object]:
    """Return the lowest or the highest value of every numeric setting."""
    found: dict[str, object] = {}
    for name, field in Settings.model_fields.items():
        for bound in field.metadata:
            if isinstance(bound, kind):
                found[name] = str(bound.ge if isinstance(bound, Ge) else bound.le)
    return found


# A stream that is opened before the event is written, and one that comes back for it.
@pytest.mark.parametrize("kind", [Ge, Le])
async def test_worker_with_every_number_at_its_bound_delivers(
    topics: MakeTopics,
    start_worker: StartWorker,
    open_stream: OpenStream,
    producer: AIOKafkaProducer,
    user: str,
    kind: type[Ge | Le],
) -> None:
    values = bounds(kind)
    # Two streams are open here, and no stream ends before the test does.
    for name in ("max_streams", "max_streams_per_user", "max_streams_per_address"):
        values[name] = str(max(10, int(str(values[name]))))
    values["max_stream_age_seconds"] = "3600"
    values["workers"] = "1"  # the upper bound starts 256 processes
    served = await topics()
    worker = await start_worker(served, ready=True, **values)
    write = RecordWriter(producer, served)
    client = await open_stream(worker, user)
    start = client.last_event_id
    await write.numbered(user, [1])
    await client.wait_for(1)

    back = await open_stream(worker, user, headers={"Last-Event-ID": start})
    await back.wait_for(1)
    assert client.numbers == back.numbers == [1]
    assert "Traceback" not in worker.log()


async def test_start_logs_version_brokers_and_topics_and_ignores_a_foreign_variable(
    set_up: SetUp,
) -> None:
    stage = await set_up(service_host="10.0.0.1")
    start = await stage.worker.wait_for_log('"starting"')
    for word in ("version", "brokers", stage.topics.user, stage.topics.broadcast):
        assert word in start
    ignored = await stage.worker.wait_for_log("not a setting")
    assert "GATEWAY_SERVICE_HOST" in ignored
