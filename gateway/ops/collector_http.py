"""The HTTP client of the exporters of traces and metrics, with the bounds of `gateway.outgoing`.

OpenTelemetry's exporters use requests, which reads a response of any size, and lets a server that
sends a byte now and then hold the exporting thread without end.
"""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from gateway.outgoing import Exchange, NoAnswer, answer_now

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BYTES = 65_536
"""Of a collector's answer: a status and at most a short message."""

_PROVIDER = "CREDENTIAL_PROVIDER"


def collector_session() -> requests.Session | None:
    """Return the session of an exporter.

    None where OpenTelemetry's environment variables name a credential provider, which brings its
    own session.
    """
    if any(name.startswith("OTEL_PYTHON_EXPORTER_") and _PROVIDER in name for name in os.environ):
        return None
    session = requests.Session()
    adapter = BoundedAdapter()
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session


class BoundedAdapter(BaseAdapter):
    """Sends the requests of a session."""

    def __init__(self) -> None:
        super().__init__()
        self._tls: ssl.SSLContext | None = None

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """Send a request, and return the response with its body.

        Raises `requests.ConnectionError` without an answer, `requests.RequestException` for a
        redirect.
        """
        del stream
        assert request.url is not None
        scheme = urlsplit(request.url).scheme
        if self._tls is None and scheme == "https":
            self._tls = _context(verify, cert)
        headers = {str(name): str(value) for name, value in request.headers.items()}
        del headers["Accept-Encoding"]
        assert isinstance(request.body, bytes)
        exchange = Exchange(
            *(request.url, timeout, MAX_BYTES, headers, request.body, self._tls),
            (proxies or {}).get(scheme),
        )
        try:
            status, content = answer_now(exchange)
        except NoAnswer as error:
            raise requests.ConnectionError(str(error)) from None
        if 300 <= status < 400:  # OpenTelemetry takes it for a success
            raise requests.RequestException(f"it redirects ({status})")
        response = requests.Response()
        response.status_code, response._content = status, content  # noqa: SLF001 - no public way
        response.url, response.request = request.url, request
        return response

    def close(self) -> None:
        """Close nothing: each request has its own connection."""


def _context(verify: bool | str, cert: Any) -> ssl.SSLContext:
    """Return the TLS context for the certificates of OpenTelemetry's environment variables."""
    context = ssl.create_default_context(
        cafile=verify if isinstance(verify, str) else DEFAULT_CA_BUNDLE_PATH
    )
    if cert is not None:
        context.load_cert_chain(*((cert,) if isinstance(cert, str) else cert))
    return context
