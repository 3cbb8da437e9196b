"""A running worker matches its descriptions: schemathesis sends every kind of request they allow.

Streams of this worker end after a second, the lower limit of the setting. A drain and the stream of
the dashboard are requested without the token only: one ends the worker, the other does not end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
import requests
import schemathesis
from hypothesis import HealthCheck
from hypothesis import settings as examples
from schemathesis import Case
from schemathesis.specs.openapi.checks import positive_data_acceptance

from gateway.demo.broker import EmbeddedBroker
from tests.api.described import EVERYTHING, Json, of_events, of_operations, of_requests, of_topics
from tests.conftest import Broker, make_topics, worker_settings
from tests.eventually import DEADLINE
from tests.tokens import bearer, mint
from tests.worker import Worker

TOKEN = str(EVERYTHING["ops_token"])

AGE_SECONDS = 1

SECONDS = DEADLINE

some = examples(
    max_examples=8, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Worker]:
    async with EmbeddedBroker() as embedded:
        topics = await make_topics(Broker("embedded", embedded.bootstrap))
        changed = {**EVERYTHING, "sharding": "off", "max_stream_age_seconds": AGE_SECONDS}
        settings = worker_settings(topics, kafka_bootstrap=embedded.bootstrap, **changed)
        worker = Worker(settings, tmp_path_factory.mktemp("worker") / "log")
        try:
            await worker.wait_until_ready()
            yield worker
        finally:
            worker.end()


PUBLIC = schemathesis.openapi.from_dict({**of_requests(token_cookie="session", token_query=True)})
OPERATIONS = schemathesis.openapi.from_dict(of_operations(**EVERYTHING))


@PUBLIC.parametrize()
@some
def test_the_public_listener(case: Case[Any], worker: Worker) -> None:
    case.call_and_validate(base_url=worker.url, headers=bearer(mint("u")), timeout=SECONDS)


@OPERATIONS.exclude(path=["/ops/drain", "/ops/events"]).parametrize()
@some
def test_the_operations_listener(case: Case[Any], worker: Worker) -> None:
    # A few texts that match the pattern of an id are invalid.
    excluded: list[Any] = [positive_data_acceptance] if case.path == "/ops/id" else []
    case.call_and_validate(
        base_url=worker.ops_url,
        headers=bearer(TOKEN),
        timeout=SECONDS,
        excluded_checks=excluded,
    )


@pytest.mark.parametrize(("method", "path"), [("POST", "/ops/drain"), ("GET", "/ops/events")])
def test_excluded_operations_require_the_token(method: str, path: str, worker: Worker) -> None:
    case = OPERATIONS[path][method].Case()
    case.call_and_validate(base_url=worker.ops_url, timeout=SECONDS)


@pytest.mark.parametrize(
    ("listener", "path", "describe"),
    [
        ("url", "/openapi.json", of_requests),
        ("url", "/asyncapi.json", of_events),
        ("ops_url", "/openapi.json", of_operations),
        ("ops_url", "/asyncapi.json", of_topics),
    ],
)
def test_a_description_is_served_with_an_etag(
    listener: str, path: str, describe: Callable[..., Json], worker: Worker
) -> None:
    url = getattr(worker, listener) + path
    headers = bearer(TOKEN) if listener == "ops_url" else {}
    first = requests.get(url, headers=headers, timeout=SECONDS)
    assert first.status_code == 200
    assert first.headers["Content-Type"] == "application/json"
    assert first.json().keys() == describe(**EVERYTHING).keys()
    known = {**headers, "If-None-Match": first.headers["ETag"]}
    again = requests.get(url, headers=known, timeout=SECONDS)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    other = requests.get(url, headers={**headers, "If-None-Match": '"x"'}, timeout=SECONDS)
    assert (other.status_code, other.content) == (200, first.content)
    if listener == "ops_url":
        assert requests.get(url, timeout=SECONDS).status_code == 401
