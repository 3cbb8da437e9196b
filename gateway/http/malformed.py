"""Requests that are no HTTP: counted, and kept out of the log.

aiohttp answers them with a 400 before any handler sees them, and logs each with a traceback that
quotes the request. So any client could fill the log, and a token in a header that is too long, or
in a URL with one bad byte, would stand in it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aiohttp.http_exceptions import HttpProcessingError

if TYPE_CHECKING:
    from gateway.ops.metrics import Metrics


class _Malformed(logging.Filter):
    def __init__(self, metrics: Metrics | None) -> None:
        super().__init__()
        self._metrics = metrics

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError):
            return True
        if self._metrics is not None:
            self._metrics.rejected("bad_request")
        return False


def server_log(metrics: Metrics | None) -> logging.Logger:
    """Return the logger for one server of aiohttp: the root's, without malformed requests."""
    # Not one of `getLogger`: that would be shared by all servers, with the filters of each.
    logger = logging.Logger("aiohttp.server")  # noqa: LOG001
    logger.parent = logging.getLogger()
    logger.addFilter(_Malformed(metrics))
    return logger
