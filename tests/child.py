"""Child processes of the tests: their output is kept, and none outlives its test.

A plain process whose output goes to a file, and no asyncio: such a process can be shared by tests
that each run in an event loop of their own.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain, cycle
from pathlib import Path
from random import randrange
from typing import IO, Self

from tests.eventually import DEADLINE
from tests.template import start

PORTS = range(10_000, 32_000)
"""Below what Linux takes for outgoing connections, 32768 to 60999 unless it was told otherwise."""


def free_port() -> int:
    """Return a free port of the loopback address that no other call returned, in any process.

    The port is below the range that the kernel takes for outgoing connections and for binds to
    port 0, so no other program takes it before the caller listens on it. A lock on a file reserves
    it among test processes until this one ends.
    """
    port, lock = next(_free_ports())
    _locks().append(lock)
    return port


@cache
def _locks() -> list[IO[bytes]]:
    return []


@cache
def _free_ports() -> Iterator[tuple[int, IO[bytes]]]:
    folder = Path(tempfile.gettempdir(), f"gateway-test-ports-{os.getuid()}")
    folder.mkdir(exist_ok=True)
    ports = range(PORTS.start + randrange(len(PORTS)), PORTS.stop)
    for port in chain(ports, cycle(PORTS)):
        lock = (folder / str(port)).open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        if _is_free(port):
            yield port, lock
        else:
            lock.close()


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True


def is_running(pid: int) -> bool:
    """Return whether the process runs; a zombie does not."""
    if not Path("/proc/self").exists():  # not Linux
        listed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], stdout=subprocess.PIPE)
        return listed.stdout[:1] not in (b"", b"Z")
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return not status.rpartition(") ")[2].startswith("Z")


class Child:
    """A running process; `output` is a file that takes its output.

    Without an `environment` the process gets that of the tests.
    """

    def __init__(
        self, command: Sequence[str], output: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._output = output
        with output.open("wb") as file, open(os.devnull, "rb") as nothing:
            self._process = start(command, environment, (nothing, file, file))

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How the process ended; none while it runs, minus the signal where one ended it."""
        return self._process.poll()

    def log(self, offset: int = 0) -> str:
        """Return the output of the process, from a byte on."""
        return self._output.read_bytes()[offset:].decode(errors="replace")

    def log_size(self) -> int:
        return self._output.stat().st_size

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens where the process has ended."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def freeze(self) -> None:
        """Stop the process (SIGSTOP), and wait until each of its threads has stopped."""
        self.signal(signal.SIGSTOP)
        give_up = time.monotonic() + DEADLINE
        while not self._is_stopped():
            assert time.monotonic() < give_up, f"process {self.pid} does not stop"
            time.sleep(0.001)

    def _is_stopped(self) -> bool:
        try:
            tasks = [*Path(f"/proc/{self.pid}/task").iterdir()]
            stats = [(task / "stat").read_text(encoding="utf-8") for task in tasks]
        except OSError:  # a thread has ended meanwhile
            return False
        return all(stat.rpartition(")")[2].split()[0] in "TZ" for stat in stats)

    def wait(self, timeout: float = DEADLINE) -> int:
        """Return the exit code; `subprocess.TimeoutExpired` where it does not end in time."""
        return self._process.wait(timeout)

    def kill(self) -> None:
        """End the process as a power cut would, and wait for it."""
        self.signal(signal.SIGKILL)
        self.wait()

    def end(self) -> None:
        """Ask the process to end, kill it where it does not, and wait for it."""
        self.signal(signal.SIGTERM)
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self.kill()


def is_listening(port: int) -> bool:
    """Return whether a program accepts connections at a port of 127.0.0.1."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


class Service:
    """A program that runs while the `async with` block runs; a test may end and restart it."""

    child: Child | None = None

    @property
    def process(self) -> Child:
        """The process, running or ended. Raises `AssertionError` before the first start."""
        assert self.child is not None, "the program was not started"
        return self.child

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            self.end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.end()

    async def start(self) -> None:
        """Start the program, and return when it answers."""
        raise NotImplementedError

    def end(self) -> None:
        """End the program if it runs."""
        if self.child is not None:
            self.child.end()

    def expect_alive(self) -> None:
        """Raise `AssertionError` with the output if the program has ended."""
        assert self.process.exit_code is None, f"the program has ended:\n{self.process.log()}"
