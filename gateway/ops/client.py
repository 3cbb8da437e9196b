"""Asking an operations listener, for the commands that do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import aiohttp

from gateway.errors import OperationsError
from gateway.outgoing import cause
from gateway.settings.setting_types import url_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.config import Settings

ANSWER_SECONDS = 10.0


def default_url(settings: Settings) -> str:
    """Return where a worker with these settings has its operations listener, seen from its host.

    Raises `OperationsError` where the settings do not tell.
    """
    address = settings.ops_listen
    if not address.port:
        raise OperationsError(
            "GATEWAY_OPS_LISTEN has port 0, which is any: give the URL with --url"
        )
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104
    return url_of("http", host, address.port)


async def ask(
    url: str, settings: Settings, method: str, path: str, params: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the response of the listener at `url`; sends the token of the settings, if any.

    Raises `OperationsError` if the listener does not answer, or rejects the request.
    """
    token = settings.ops_token
    headers = {} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)) as http,
            http.request(
                method, url.rstrip("/") + path, params=params, headers=headers
            ) as response,
        ):
            text = await response.text()
            status = response.status
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise OperationsError(
            f"no operations listener answers at {url}: {cause(error)}; give its URL with --url"
        ) from None
    if status == 401:
        raise OperationsError(
            f"{url} asks for a token: set GATEWAY_OPS_TOKEN to that of the worker"
        )
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or (method, status) == ("GET", 404):
        raise OperationsError(
            f"{url} is not the operations listener of a worker: it answers {status}"
        )
    if status != 200:
        raise OperationsError(f"{url} refuses: {answer.get('detail', status)}")
    return answer
