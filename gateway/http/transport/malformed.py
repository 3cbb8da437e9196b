"""The log of one aiohttp server: malformed requests and defects, counted.

aiohttp answers a request that is not valid HTTP with a 400 before any handler sees it, and logs it
with a traceback that quotes the request. Any client could fill the log, and a token in a header
that is too long, or in a URL with one bad byte, would stand in it. These lines are dropped.

A defect is logged with its traceback, at most once a second, since a client may repeat its request.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aiohttp.http_exceptions import HttpProcessingError

from gateway.errors import BadRequest, InternalError

if TYPE_CHECKING:
    from gateway.metrics import Metrics


TRACEBACK_SECONDS = 1.0
"""The least between two tracebacks in the log."""


class _Malformed(logging.Filter):
    def __init__(self, metrics: Metrics | None) -> None:
        super().__init__()
        self._metrics = metrics
        self._quiet_until = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info is None:
            return True
        malformed = isinstance(record.exc_info[1], HttpProcessingError)
        if self._metrics is not None:
            self._metrics.rejected((BadRequest if malformed else InternalError).reason)
        if malformed or record.created < self._quiet_until:
            return False
        self._quiet_until = record.created + TRACEBACK_SECONDS
        return True


def server_log(metrics: Metrics | None) -> logging.Logger:
    """Return the logger for one server of aiohttp: the root's, without malformed requests."""
    # Not one of `getLogger`: that would be shared by all servers, with the filters of each.
    logger = logging.Logger("aiohttp.server")  # noqa: LOG001
    logger.parent = logging.getLogger()
    logger.addFilter(_Malformed(metrics))
    return logger
