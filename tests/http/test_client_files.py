"""The JavaScript client as it is served: typed rightly, kept by caches, and for pages elsewhere."""

from __future__ import annotations

import aiohttp
import pytest

from tests.http.served import serving

PAGE = "https://app.example.com"


@pytest.mark.parametrize(
    ("name", "content_type", "word"),
    [
        ("client.js", "text/javascript", "export class EventStream "),
        ("client.d.ts", "text/plain", "export interface EventStreamOptions "),
    ],
)
async def test_it_needs_no_token_and_is_asked_for_again_in_a_few_bytes(
    http: aiohttp.ClientSession, name: str, content_type: str, word: str
) -> None:
    async with serving() as served:
        url = f"http://127.0.0.1:{served.port}/api/v1/{name}"
        async with http.get(url) as answer:
            assert answer.status == 200
            assert (answer.content_type, answer.charset) == (content_type, "utf-8")
            assert answer.headers["Cache-Control"] == "no-cache"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert word in await answer.text()
            tag = answer.headers["ETag"]
        async with http.get(url, headers={"If-None-Match": f'"other", {tag}'}) as answer:
            assert (answer.status, await answer.read()) == (304, b"")
            assert answer.headers["ETag"] == tag
        async with http.get(url, headers={"If-None-Match": '"other"'}) as answer:
            assert answer.status == 200


async def test_response_is_compressed_on_request(http: aiohttp.ClientSession) -> None:
    async with serving() as served:
        url = f"http://127.0.0.1:{served.port}/api/v1/client.js"
        sizes, tags, texts = [], [], []
        for accepted in ("gzip, br", "identity"):
            async with http.get(url, headers={"Accept-Encoding": accepted}) as answer:
                texts.append(await answer.text())
                sizes.append(int(answer.headers["Content-Length"]))
                tags.append(answer.headers["ETag"])
                assert answer.headers["Vary"] == "Accept-Encoding"
        assert texts[0] == texts[1]
        assert sizes[0] * 2 < sizes[1] == len(texts[1].encode())
        assert tags[0] != tags[1]


async def test_a_page_of_an_allowed_origin_may_import_it(http: aiohttp.ClientSession) -> None:
    async with serving(cors_origins=[PAGE]) as served:
        url = f"http://127.0.0.1:{served.port}/api/v1/client.js"
        for origin, allowed in ((PAGE, PAGE), ("https://elsewhere.example.com", None)):
            async with http.get(url, headers={"Origin": origin}) as answer:
                assert answer.headers.get("Access-Control-Allow-Origin") == allowed
                assert answer.headers["Vary"] == "Accept-Encoding, Origin"
