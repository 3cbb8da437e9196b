"""The supervisor of `gateway serve --workers N`: runs and replaces workers.

    SIGTERM, SIGINT    drain all workers; a second signal ends their streams at once
    SIGHUP             reload the settings, and replace the workers one by one
    SIGUSR1, SIGUSR2   ignored

A replacement starts beside its predecessor, which drains once the replacement accepts clients: the
machine serves without interruption, and clients resume with `Last-Event-ID`. Invalid settings are
not applied: the supervisor logs the reason and keeps the former ones.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from gateway import clock
from gateway.app import worker_name
from gateway.errors import GatewayError, SettingsError
from gateway.serve import STOP_SIGNALS
from gateway.settings.setting_types import Address, url_of
from gateway.supervise import Restarts
from gateway.workers.messages import Assignment, Published, Report, Siblings, Stop
from gateway.workers.plan import FIRST_SECONDS, fixed_changes
from gateway.workers.process import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.config import Settings
    from gateway.log import File

UP_SECONDS = 60.0
"""Timeout of a replacement until it accepts clients."""

GRACE_SECONDS = 15.0
"""Time beyond `GATEWAY_DRAIN_SECONDS` after which a draining worker is killed."""

ANY_PORT = "127.0.0.1:0"
"""Address of a worker's operations listener, to which the supervisor forwards requests."""

_log = structlog.stdlib.get_logger(__name__)


class Supervisor:
    """Runs the workers of one machine until it is asked to stop."""

    def __init__(
        self,
        settings: Settings,
        reload: Callable[[], Settings],
        listening: Sequence[socket.socket],
        file: File,
    ) -> None:
        self._settings = settings
        self._reload = reload
        self._listening = listening
        self._file = file
        count = settings.workers
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count)]
        self._receiving = [receiving for receiving, _ in pairs]
        self._sending = [sending for _, sending in pairs]
        self._current: list[WorkerProcess | None] = [None] * count
        self._restarts = [Restarts(FIRST_SECONDS) for _ in range(count)]
        self._watches: dict[WorkerProcess, asyncio.Task[None]] = {}
        self._delays: dict[int, asyncio.Task[None]] = {}
        self._replacing: asyncio.Task[None] | None = None
        self._again = False
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._up: frozenset[int] = frozenset()
        self.restarts = [0] * count
        self.failure: GatewayError | None = None
        """Why the workers could not be started."""
        self._ops_url = ""

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings

    @property
    def processes(self) -> Sequence[WorkerProcess]:
        """The running processes: by slot, the successor before a predecessor that drains."""
        return sorted(
            self._watches, key=lambda process: (process.slot, process.leaving, process.name)
        )

    @property
    def stopping(self) -> bool:
        """Whether all workers drain."""
        return self._stopping.is_set()

    async def run(self, ops_url: str) -> None:
        """Run until all workers have ended. Raises `GatewayError` if they cannot start.

        `ops_url` is that of the operations listener of the machine.
        """
        loop = asyncio.get_running_loop()
        self._ops_url = ops_url
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            loop.add_signal_handler(number, _ignore, number)
        _log.info(
            "supervising",
            workers=len(self._current),
            url=url_of("http", *self._listening[0].getsockname()[:2]),
            ops_url=ops_url,
        )
        announcing = asyncio.create_task(self._announce_slots())
        try:
            for slot in range(len(self._current)):
                if not self.stopping:
                    # One worker answers 503 until it is ready; clients of the others need no 503.
                    await self._fill(slot, patient=slot > 0)
            await self._stopping.wait()
            await self._drain()
        finally:
            announcing.cancel()
            for task in (announcing, *self._delays.values(), self._replacing):
                if task is not None:
                    task.cancel()
        if self.failure is not None:
            raise self.failure
        _log.info("stopped")

    def stop(self) -> None:
        """Drain all workers; called again it ends their streams at once."""
        if self.stopping:
            _log.warning("drain cut short by a second signal; the remaining streams end at once")
            for process in self._watches:
                process.send(Stop())
        self._stopping.set()

    async def _drain(self) -> None:
        for sock in self._listening:
            sock.close()
        _log.info(
            "draining; a second signal stops at once",
            workers=len(self._watches),
            seconds=self._settings.drain_seconds,
        )
        for task in (*self._delays.values(), self._replacing):
            if task is not None:
                task.cancel()
        for process in self._watches:
            process.end()
        if self._watches:
            await asyncio.wait(self._watches.values(), timeout=self._drain_patience())
        for process in self._watches:
            _log.warning("worker killed: it did not end in time", worker=process.name)
            process.kill()
        if self._watches:
            await asyncio.wait(self._watches.values())

    def _drain_patience(self) -> float:
        return self._settings.drain_seconds + GRACE_SECONDS

    # Workers.

    async def _fill(self, slot: int, *, patient: bool) -> None:
        """Start the worker of a slot."""
        self._restarts[slot].started(clock.now().monotonic)
        self._current[slot] = await self._start(slot, self._settings, patient=patient)

    async def _start(self, slot: int, settings: Settings, *, patient: bool) -> WorkerProcess:
        assignment = Assignment(
            settings=settings.model_copy(update={"ops_listen": Address(ANY_PORT)}),
            name=worker_name(),
            slot=slot,
            slots=len(self._current),
            ops_url=self._ops_url,
            listening=tuple(sock.fileno() for sock in self._listening),
            receiving=self._receiving[slot].fileno(),
            sending=tuple(sock.fileno() for sock in self._sending),
            patient=patient,
        )
        process = await WorkerProcess.start(assignment, self._file, self._receive)
        _log.info("worker started", worker=process.name, slot=slot, pid=process.pid)
        process.send(Siblings(self._up))
        task = asyncio.create_task(self._watch(process), name=f"watch {process.name}")
        self._watches[process] = task
        if self.stopping:
            process.end()
        return process

    async def _watch(self, process: WorkerProcess) -> None:
        """Wait for the end of a worker; restart it if the end was not requested."""
        code = await process.wait()
        del self._watches[process]
        self._changed.set()
        if process.leaving or self.stopping or self._current[process.slot] is not process:
            _log.info("worker ended", worker=process.name, slot=process.slot, exit_code=code)
            return
        self._current[process.slot] = None
        if process.failure and process.report is None and not any(self.restarts):
            # Invalid settings or a port in use: the next worker would fail in the same way.
            kind = SettingsError if code == SettingsError.exit_code else GatewayError
            self.failure = self.failure or kind(process.failure)
            self._stopping.set()
            return
        self.restarts[process.slot] += 1
        pause = self._restarts[process.slot].died(clock.now().monotonic)
        _log.error(
            "worker died; it is restarted",
            worker=process.name,
            slot=process.slot,
            exit_code=code,
            seconds=pause,
            **({"reason": process.failure} if process.failure else {}),
        )
        self._delays[process.slot] = asyncio.create_task(self._restart(process.slot, pause))

    async def _restart(self, slot: int, pause: float) -> None:
        await asyncio.sleep(pause)
        await self._fill(slot, patient=bool(self._up))
        del self._delays[slot]

    def _receive(self, message: Report | Published) -> None:
        if isinstance(message, Report):
            self._changed.set()
            return
        for process in self._watches:
            if process.name != message.worker:
                process.send(message)

    async def _announce_slots(self) -> None:
        """Tell all workers which slots accept connections, whenever that has changed."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            up = frozenset(process.slot for process in self._watches if process.state.up)
            if up != self._up:
                self._up = up
                for process in self._watches:
                    process.send(Siblings(up))

    # Reload.

    def _hang_up(self) -> None:
        if self._replacing is not None and not self._replacing.done():
            self._again = True
            _log.info("settings are read again once all workers are replaced")
            return
        self._replacing = asyncio.create_task(self._replace_all(), name="replace")

    async def _replace_all(self) -> None:
        while not self.stopping:
            self._again = False
            try:
                settings = with_format(self._reload())
                fixed = fixed_changes(self._settings, settings)
                if fixed:
                    raise SettingsError(f"{fixed} cannot change while the supervisor runs; restart")
                await self._replace_each(settings)
            except GatewayError as error:
                _log.error(
                    "settings not applied; the former ones stay in force",
                    reason="; ".join(str(error).splitlines()),
                )
            if not self._again:
                return

    async def _replace_each(self, settings: Settings) -> None:
        """Replace the worker of each slot. Raises `GatewayError` if the first one fails.

        If a later one fails, the remaining workers keep the former settings until a next attempt.
        """
        _log.info("settings read again; workers are replaced one by one")
        for slot in range(len(self._current)):
            successor = await self._start(slot, settings, patient=True)
            problem = await self._until_up(successor)
            if problem:
                successor.kill()
                if slot == 0:
                    raise GatewayError(problem)
                _log.error(
                    "settings applied to some workers only; send SIGHUP again for the others",
                    replaced=list(range(slot)),
                    not_replaced=list(range(slot, len(self._current))),
                    reason="; ".join(problem.splitlines()),
                )
                return
            self._settings = settings
            if delay := self._delays.pop(slot, None):
                delay.cancel()
            former, self._current[slot] = self._current[slot], successor
            if former is not None:
                await self._retire(former)
        _log.info("all workers are replaced")

    async def _until_up(self, process: WorkerProcess) -> str:
        """Wait until a worker accepts clients; return the failure, or an empty string."""
        with suppress(TimeoutError):
            async with asyncio.timeout(UP_SECONDS):
                while not process.state.up:
                    if process not in self._watches:
                        return process.failure or "the new worker ended at its start; see its log"
                    await asyncio.sleep(0.05)
                return ""
        reasons = "; ".join(reason["detail"] for reason in process.state.reasons)
        return f"the new worker was not ready within {UP_SECONDS:.0f} s: {reasons}"

    async def _retire(self, process: WorkerProcess) -> None:
        """Drain a worker that has a successor, and wait for its end."""
        process.end()
        self._changed.set()
        watch = self._watches.get(process)
        if watch is not None:
            _, late = await asyncio.wait([watch], timeout=self._drain_patience())
            if late:
                _log.warning("worker killed: it did not end in time", worker=process.name)
                process.kill()


def _ignore(number: signal.Signals) -> None:
    _log.warning("signal ignored: SIGHUP reads the settings again", signal=number.name)


def with_format(settings: Settings) -> Settings:
    """Return the settings with an explicit log format: workers write to a pipe."""
    form = settings.log_format or ("text" if sys.stderr.isatty() else "json")
    return settings.model_copy(update={"log_format": form})
