"""Runs one worker as a process: signals, start-up log and drain."""

from __future__ import annotations

import asyncio
import signal
import sys

import structlog

from gateway import __version__, garbage, log
from gateway.app import Worker
from gateway.config import Settings, foreign_variables
from gateway.kafka.topics import topic_specs

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
IGNORED_SIGNALS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that end a process by default, sent by operators to make other programs reload."""

_log = structlog.stdlib.get_logger(__name__)


def serve(settings: Settings) -> None:
    """Run a worker until SIGTERM or SIGINT, then drain it.

    A second signal stops it at once. SIGHUP, SIGUSR1 and SIGUSR2 are logged and ignored.
    """
    with log.Background(sys.stderr) as file:
        log.configure(settings.log_format, settings.log_level, file)
        garbage.spare()
        asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    loop = asyncio.get_running_loop()
    for number in IGNORED_SIGNALS:
        loop.add_signal_handler(number, _ignore, number)
    worker = Worker(settings)
    log_start(settings)
    async with worker:
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, worker.end)
        await worker.ended()
        drain = asyncio.create_task(worker.drain())
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, _cut_short, drain)
        await asyncio.wait([drain])
    _log.info("stopped")


def _ignore(number: signal.Signals) -> None:
    _log.warning(
        "signal ignored: settings are read at the start only; SIGTERM drains and stops the worker",
        signal=number.name,
    )


def _cut_short(drain: asyncio.Task[None]) -> None:
    _log.warning("drain cut short by a second signal; the remaining streams end at once")
    drain.cancel()


def log_start(settings: Settings) -> None:
    """Log the version, the most important settings, and unknown variables."""
    for name in foreign_variables():
        _log.warning("variable ignored: it is not a setting of the gateway", name=name)
    _log.info(
        "starting",
        version=__version__,
        brokers=",".join(settings.kafka_bootstrap),
        security_protocol=settings.kafka_security_protocol,
        topics=",".join(spec.name for spec in topic_specs(settings)),
    )
