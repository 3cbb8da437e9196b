from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from gateway.errors import KeySetError, NotReady, Overloaded
from gateway.http.auth.jwks import KeySet, read_key_set
from gateway.http.auth.jwks_client import (
    MAX_BYTES,
    MAX_WAITING,
    PACE,
    JwksClient,
    Pace,
    fetch_key_set,
)
from gateway.readiness import NotReadyReason, Readiness
from tests.child import free_port
from tests.eventually import DEADLINE, eventually
from tests.issuer import SigningKey, key_set, published

ALGORITHMS = ["RS256", "ES256", "EdDSA"]
OLD, NEW = SigningKey("ES256", "old"), SigningKey("ES256", "new")


class Provider:
    """A fetch that is let through while `open` is set, and fails without keys."""

    def __init__(self, *keys: SigningKey) -> None:
        self.keys = keys
        self.open = asyncio.Event()
        self.open.set()
        self.fetched = 0
        self.at_once = 0

    async def fetch(self) -> KeySet:
        self.at_once += 1
        assert self.at_once == 1
        self.fetched += 1
        try:
            await self.open.wait()
        finally:
            self.at_once -= 1
        if not self.keys:
            raise KeySetError("it answers 500", "look at the log")
        return read_key_set(key_set(*self.keys), ALGORITHMS)

    async def until_fetched(self, count: int) -> None:
        await eventually(f"fetched {count} times", lambda: self.fetched >= count)


@asynccontextmanager
async def running(
    provider: Provider, readiness: Readiness | None = None, pace: Pace = PACE
) -> AsyncIterator[JwksClient]:
    if readiness is None:
        readiness = Readiness()
    keys = JwksClient(provider.fetch, readiness, pace)
    task = asyncio.create_task(keys.run())
    try:
        yield keys
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def found(keys: JwksClient, key: SigningKey) -> bool:
    return bool(keys.find(key.kid, key.algorithm))


async def test_a_worker_is_not_ready_until_it_has_keys() -> None:
    readiness = Readiness()
    provider = Provider()
    async with running(provider, readiness, Pace(retry=0.01)) as keys:
        readiness.clear(NotReadyReason.STARTING)
        await provider.until_fetched(2)
        with pytest.raises(NotReady):
            keys.find("old", "ES256")
        assert not readiness.ever
        assert readiness.report()["reasons"] == [
            {"reason": "keys", "detail": "GATEWAY_JWT_JWKS_URL: it answers 500; look at the log"}
        ]
        provider.keys = (OLD,)
        async with asyncio.timeout(DEADLINE):
            await readiness.first()
        assert found(keys, OLD)


async def test_the_last_good_set_stays_while_the_url_is_down() -> None:
    readiness = Readiness()
    readiness.clear(NotReadyReason.STARTING)
    provider = Provider(OLD)
    async with running(provider, readiness, Pace(refresh=0.01, retry=0.01)) as keys:
        await provider.until_fetched(2)
        provider.keys = ()
        await provider.until_fetched(provider.fetched + 3)
        assert found(keys, OLD)
        assert readiness
        assert not keys.fresh
        provider.keys = (NEW,)
        await eventually(
            "the new key came, and the old one went",
            lambda: found(keys, NEW) and not found(keys, OLD),
        )
        assert keys.fresh


async def test_unknown_key_is_fetched_once_for_all_waiting_requests() -> None:
    provider = Provider(OLD)
    async with running(provider) as keys:
        await keys.renew()
        assert (provider.fetched, found(keys, OLD)) == (1, True)
        provider.open.clear()
        waiting = [asyncio.create_task(keys.renew()) for _ in range(100)]
        await provider.until_fetched(2)
        provider.keys = (OLD, NEW)
        provider.open.set()
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(*waiting)
        assert found(keys, NEW)
        assert provider.fetched == 2


async def test_names_that_are_made_up_cost_one_fetch_in_a_set_time() -> None:
    provider = Provider(OLD)
    async with running(provider) as keys:
        await keys.renew()
        async with asyncio.timeout(DEADLINE):  # a skipped fetch returns at once
            for _ in range(1000):
                await keys.renew()
        assert provider.fetched == 2


async def test_after_that_time_a_name_can_be_asked_for_again() -> None:
    provider = Provider(OLD)
    async with running(provider, pace=Pace(unknown=0.05)) as keys:
        await keys.renew()
        for count in (2, 3):

            async def again(count: int = count) -> bool:
                await keys.renew()
                return provider.fetched == count

            await eventually(f"fetched {count} times", again)


async def test_wait_for_an_unresponsive_provider_is_short() -> None:
    provider = Provider(OLD)
    async with running(provider, pace=Pace(patience=0.05)) as keys:
        await keys.renew()
        provider.open.clear()
        async with asyncio.timeout(DEADLINE):
            await keys.renew()
        assert provider.at_once == 1
        assert found(keys, OLD)  # a known key needs no wait


async def test_requests_that_wait_for_a_key_have_a_limit_of_their_own() -> None:
    provider = Provider(OLD)
    async with running(provider) as keys:
        await keys.renew()
        provider.open.clear()
        waiting = [asyncio.create_task(keys.renew()) for _ in range(MAX_WAITING)]
        await provider.until_fetched(2)
        with pytest.raises(Overloaded) as caught:
            await keys.renew()
        assert caught.value.reason == "key_lookups"
        assert found(keys, OLD)
        provider.open.set()
        await asyncio.gather(*waiting)
        await keys.renew()


# The fetch.


async def failure(url: str, patience: float = DEADLINE) -> str:
    with pytest.raises(KeySetError) as caught:
        await fetch_key_set(url, ALGORITHMS, patience)
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_keys_are_fetched() -> None:
    async with published(OLD, NEW) as provider:
        assert ("new", "ES256") in await fetch_key_set(provider.url, ALGORITHMS)


@pytest.mark.parametrize("status", [201, 204, 404, 500])
async def test_another_status_is_a_failure(status: int) -> None:
    async with published(OLD) as provider:
        provider.status = status
        assert (await failure(provider.url)).startswith(f"it answers {status}; ")


async def test_a_redirect_is_not_followed() -> None:
    async with published(OLD) as elsewhere, published(OLD) as provider:
        provider.status = 302
        provider.headers = {"Location": elsewhere.url}
        assert await failure(provider.url) == "it redirects (302); set the URL that it redirects to"
        assert elsewhere.asked == 0


async def test_an_answer_that_is_too_large_is_not_read() -> None:
    async with published(OLD) as provider:
        provider.document += b" " * (MAX_BYTES - len(provider.document))
        await fetch_key_set(provider.url, ALGORITHMS)
        provider.document += b" "
        assert "more than 262144 bytes" in await failure(provider.url)


async def test_an_answer_is_not_unpacked() -> None:
    async with published(OLD) as provider:
        provider.document = gzip.compress(provider.document)
        provider.headers = {"Content-Encoding": "gzip"}
        assert await failure(provider.url) == (
            "the response is not a JSON Web Key Set; set the URL at which the keys are"
        )


async def test_invalid_key_set_counts_as_failed_fetch() -> None:
    async with published(OLD) as provider:
        provider.document = b"<html>"
        assert await failure(provider.url) == (
            "the response is not a JSON Web Key Set; set the URL at which the keys are"
        )
        provider.document = b'{"keys": []}'
        assert (await failure(provider.url)).startswith(
            "the set lacks a key for RS256, ES256, EdDSA; "
        )


async def test_unreachable_key_url_counts_as_failed_fetch() -> None:
    port = free_port()
    assert f"127.0.0.1:{port}" in await failure(f"http://127.0.0.1:{port}/keys")
    assert "no.such.host.invalid" in await failure("https://no.such.host.invalid/keys")


@pytest.mark.parametrize(
    ("answer", "patience", "said"),
    [
        (b"", 0.2, "does not answer within 0.2 s"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", 0.2, "does not answer within 0.2 s"),
        (b"SSH-2.0-server\r\n\r\n", DEADLINE, "not valid HTTP"),
    ],
)
async def test_a_server_that_hangs_or_speaks_otherwise_is_a_failure(
    answer: bytes, patience: float, said: str
) -> None:
    gone = asyncio.Event()

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await gone.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        assert said in await failure(f"http://127.0.0.1:{port}/keys", patience)
    finally:
        gone.set()
        server.close()
        await server.wait_closed()
