"""A worker process of a supervisor: `python -m gateway.workers.child FD`.

FD is the socket to the supervisor. SIGTERM and SIGINT drain the worker, once: an init system sends
them to every process of the service, and the supervisor sends them again. The supervisor's message
`Stop` ends the drain early. A worker whose supervisor has ended drains as well.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from contextlib import closing
from functools import partial

import msgspec
import structlog

from gateway import garbage, log
from gateway.app import Worker
from gateway.errors import GatewayError
from gateway.serve import IGNORED_SIGNALS, STOP_SIGNALS
from gateway.workers.messages import (
    MAX_MESSAGE,
    Assignment,
    Failed,
    Published,
    Report,
    Stop,
    decode_for_worker,
    encode,
    read_assignment,
)
from gateway.workers.slot import Slot

REPORT_SECONDS = 0.1
"""How often the worker checks its state for changes to report to the supervisor."""

_log = structlog.stdlib.get_logger(__name__)


def main() -> None:
    """Run the worker; the exit code is 0, or that of a `GatewayError`."""
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=int(sys.argv[1]))
    try:
        assignment = read_assignment(control)
    except EOFError:
        return
    settings = assignment.settings
    with log.Background(sys.stderr) as file:
        log.configure(settings.log_format, settings.log_level, file)
        garbage.spare()
        try:
            asyncio.run(_run(assignment, control))
        except GatewayError as error:
            control.setblocking(True)
            control.sendall(encode(Failed(str(error))))
            sys.exit(error.exit_code)


async def _run(assignment: Assignment, control: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    worker = Worker(assignment.settings, slot=Slot(assignment))
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, worker.end)
    # A copy, which asyncio closes: `main` reports a failure on the other one.
    reader, writer = await asyncio.open_connection(sock=control.dup(), limit=MAX_MESSAGE)
    if worker.siblings is not None:
        worker.siblings.send = partial(_publish, writer, assignment.name)
    with closing(writer):
        await _serve(worker, reader, writer)
    _log.info("stopped")


async def _serve(
    worker: Worker, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    cut = asyncio.Event()
    async with worker:
        tasks = [
            asyncio.create_task(_listen(reader, worker, cut)),
            asyncio.create_task(_report(writer, worker)),
        ]
        try:
            await worker.ended()
            drain = asyncio.create_task(worker.drain())
            stop = asyncio.create_task(cut.wait())
            await asyncio.wait([drain, stop], return_when=asyncio.FIRST_COMPLETED)
            if not drain.done():
                _log.warning("drain cut short; the remaining streams end at once")
            for task in (drain, stop):
                task.cancel()
            await asyncio.wait([drain, stop])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def _listen(reader: asyncio.StreamReader, worker: Worker, cut: asyncio.Event) -> None:
    """Apply the supervisor's messages; drain when it has ended."""
    try:
        while line := await reader.readline():
            message = decode_for_worker(line)
            if isinstance(message, Stop):
                cut.set()
            elif isinstance(message, Published):
                if worker.siblings is not None:
                    worker.siblings.received(message.worker, bytes(message.status))
            elif worker.handover is not None:
                worker.handover.up = message.up
    except ConnectionError:
        pass
    _log.warning("supervisor has ended; draining")
    worker.end()


def _publish(writer: asyncio.StreamWriter, name: str, status: bytes) -> None:
    if not writer.is_closing():
        writer.write(encode(Published(name, msgspec.Raw(status))))


async def _report(writer: asyncio.StreamWriter, worker: Worker) -> None:
    """Tell the supervisor the state of the worker whenever it has changed."""
    told = None
    while not writer.is_closing():
        reasons = tuple(
            {"reason": str(reason), "detail": detail}
            for reason, detail in worker.readiness.reasons.items()
        )
        report = Report(worker.own_ops_port, bool(worker.readiness), worker.is_accepting, reasons)
        if report != told:
            told = report
            writer.write(encode(report))
        await asyncio.sleep(REPORT_SECONDS)


if __name__ == "__main__":
    main()
