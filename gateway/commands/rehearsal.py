"""Start a worker for `gateway check`; test readiness and delivery of one event.

The worker uses the deployment's settings, except that it listens on free loopback ports, uses a
generated HMAC key (`check` lacks the private key that signs tokens), publishes no fleet status and
reads no revocations. The worker writes nothing to Kafka.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, NamedTuple

from pydantic import SecretStr

from gateway.app import Worker
from gateway.client import Event, EventStream, Gap, Interrupted
from gateway.commands.findings import Finding, Status
from gateway.errors import GatewayError
from gateway.http.public import EVENTS
from gateway.settings.setting_types import Address
from gateway.tokens import mint

if TYPE_CHECKING:
    from gateway.config import Settings

READY_SECONDS = 10.0
"""Timeout of readiness; if Kafka answers, a worker is ready within a second."""

DELIVERY_SECONDS = 10.0
"""Timeout of delivery; replaying the newest record takes some milliseconds."""

WHAT = "worker"


class Sample(NamedTuple):
    """A record that is an event: its user, and its timestamp (Unix ms)."""

    user: str
    timestamp: int


def postponed() -> Finding:
    """Return the finding for topics that the first worker creates: `check` writes nothing."""
    return Finding(
        WHAT, Status.OK, "not started: a topic is missing; after `gateway serve`, check again"
    )


async def rehearse(settings: Settings, sample: Sample | None) -> Finding:
    """Start a worker, open a stream for the user of `sample`, and return the finding."""
    private = _private(settings)
    begun = time.monotonic()
    try:
        async with Worker(private) as worker:
            try:
                async with asyncio.timeout(READY_SECONDS):
                    await worker.readiness.first()
            except TimeoutError:
                reasons = "; ".join(worker.readiness.reasons.values())
                return _failed(f"not ready after {READY_SECONDS:g} s: {reasons}")
            ready = f"ready after {_ms_since(begun)}"
            if sample is None:
                return Finding(WHAT, Status.OK, f"{ready}; found no recent event to deliver")
            begun = time.monotonic()
            try:
                async with asyncio.timeout(DELIVERY_SECONDS):
                    problem = await _first_event(private, worker.url, sample)
            except TimeoutError:
                problem = f"no event arrived within {DELIVERY_SECONDS:g} s"
            if problem:
                return _failed(f"{ready}; {problem}")
            return Finding(WHAT, Status.OK, f"{ready}; an event delivered after {_ms_since(begun)}")
    except GatewayError as error:
        return _failed(str(error))


def _private(settings: Settings) -> Settings:
    return settings.model_copy(
        update={
            "listen": Address("127.0.0.1:0"),
            "ops_listen": Address("127.0.0.1:0"),
            "ops_token": None,
            "ops_token_file": None,
            "tls_certfile": None,
            "tls_keyfile": None,
            "jwt_secret": SecretStr(secrets.token_hex(32)),
            "jwt_secret_file": None,  # it would be read again, in place of the random secret
            "jwt_public_key_file": None,
            "jwt_jwks_url": None,
            "oidc_issuers": (),
            "jwt_algorithms": ("HS256",),
            "jwt_user_claim": "sub",
            "sharding": "off",
            "revocations_topic": "",
            "workers_topic": "",
            "dead_letter_topic": "",
            "create_topics": False,
            "tracing": False,
        }
    )


async def _first_event(settings: Settings, url: str, sample: Sample) -> str:
    """Return "" when an event of the sample's user arrives, else the failure."""
    token = mint(settings, sample.user, None, ttl=60, now=time.time())
    stream = EventStream(url + EVENTS, lambda: token, since=sample.timestamp)
    async with stream:
        async for item in stream:
            match item:
                case Event():
                    return ""
                case Gap():
                    return f"a gap in place of the newest event: {item.reason}"
                case Interrupted():
                    return f"the stream ended: {item.reason}"
    return "the stream ended"


def _failed(found: str) -> Finding:
    return Finding(WHAT, Status.FAILED, found)


def _ms_since(begun: float) -> str:
    return f"{(time.monotonic() - begun) * 1000:.0f} ms"
