"""Answers that open no stream, as RFC 9457 wants them."""

from __future__ import annotations

import json
from typing import Any

import aiohttp


async def expect_problem(response: aiohttp.ClientResponse, status: int) -> dict[str, Any]:
    """Return the problem details that the answer has to be."""
    assert response.status == status
    assert response.content_type == "application/problem+json"
    problem: dict[str, Any] = json.loads(await response.read())
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == response.headers["X-Request-Id"]
    return problem
