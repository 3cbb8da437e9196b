"""Runs a supervisor: `gateway serve --workers N`."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from gateway import log
from gateway.http.transport.listen import BACKLOG, bind
from gateway.serve import log_start
from gateway.workers.operations import Operations
from gateway.workers.supervisor import Supervisor, with_format

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config import Settings
    from gateway.log import File


def supervise(settings: Settings, reload: Callable[[], Settings]) -> None:
    """Run the workers until SIGTERM or SIGINT; `reload` reloads the settings.

    Raises `GatewayError` for a port in use, and for settings that cannot work.
    """
    settings = with_format(settings)
    with log.Background(sys.stderr) as file:
        log.configure(settings.log_format, settings.log_level, file)
        log_start(settings)
        asyncio.run(_supervise(settings, reload, file))


async def _supervise(settings: Settings, reload: Callable[[], Settings], file: File) -> None:
    listening = await bind(settings.listen, "GATEWAY_LISTEN")
    for sock in listening:
        sock.listen(BACKLOG)
    try:
        supervisor = Supervisor(settings, reload, listening, file)
        operations = Operations(supervisor)
        await operations.start()
        try:
            await supervisor.run(operations.url)
        finally:
            await operations.stop()
    finally:
        for sock in listening:
            sock.close()
