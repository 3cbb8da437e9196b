"""Processes of `python -m gateway`, forked from one process that has imported the program.

The imports of a worker take 0.7 s of CPU time, and the suite starts the program some 700 times.
This module is two things: `start`, for tests, and the template, which runs it as a program. The
tests pass to the template the command line, the environment and the files of each process, and
the write end of a pipe, on which the template reports the exit code.

Imports read variables: of Python, of the dynamic linker, of OpenSSL. A process is forked only if
its environment is that of the template, except for settings. All others are started by the
system, as are all processes outside pytest, and on other systems than Linux.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import IO, NoReturn, Protocol

PROGRAM = [sys.executable, "-m", "gateway"]

SETTINGS = ("GATEWAY_", "COLUMNS", "PYTEST_CURRENT_TEST")
"""Prefixes of variables that no import reads."""

PR_SET_PDEATHSIG = 1


class Process(Protocol):
    """What `subprocess.Popen` and `Forked` have in common."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def send_signal(self, sig: int) -> None: ...


Files = tuple[IO[bytes] | int, IO[bytes] | int, IO[bytes] | int]
"""Standard input, output and error."""


def start(command: Sequence[str], environment: Mapping[str, str] | None, files: Files) -> Process:
    """Start a command, which ends with this process, also when this process is killed."""
    environment = os.environ if environment is None else environment
    program, arguments = command[:3], command[3:]
    if program == PROGRAM and sys.platform == "linux" and "PYTEST_CURRENT_TEST" in os.environ:
        template = _template()
        if template.imports == _imports(environment):
            return template.fork(arguments, environment, files)
    stdin, stdout, stderr = files
    return subprocess.Popen(
        _until_death(command), stdin=stdin, stdout=stdout, stderr=stderr, env=environment
    )


def _until_death(command: Sequence[str]) -> Sequence[str]:
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    return command if setpriv is None else [setpriv, "--pdeathsig", "KILL", *command]


def _imports(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(SETTINGS)}


class Forked:
    """A process that the template forked. Its methods are those of `subprocess.Popen`."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self._status = status
        self._code: int | None = None

    def poll(self) -> int | None:
        return self._read(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._read(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("gateway", timeout or 0)
        return code

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def _read(self, timeout: float | None) -> int | None:
        if self._code is None and self._has_ended(timeout):
            code = os.read(self._status, 10)
            os.close(self._status)
            assert code, "the template has ended"
            self._code = int(code)
        return self._code

    def _has_ended(self, timeout: float | None) -> bool:
        poll = select.poll()  # `select` is limited to 1,024 open files
        poll.register(self._status, select.POLLIN)
        return bool(poll.poll(None if timeout is None else 1000 * timeout))


class _Template:
    """The template as the tests see it: a process and the socket that takes the requests."""

    def __init__(self) -> None:
        self.imports = _imports(os.environ)
        """The variables that the template's imports may have read."""
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                _until_death([sys.executable, "-m", __name__, str(theirs.fileno())]),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def fork(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        files: Files,
    ) -> Forked:
        descriptors = [file if isinstance(file, int) else file.fileno() for file in files]
        read, write = os.pipe()
        request = json.dumps([arguments, dict(environment), os.getcwd()]).encode()
        try:
            socket.send_fds(self._socket, [request], [*descriptors, write])
        finally:
            os.close(write)
        pid = self._socket.recv(20)
        assert pid, "the template has ended"
        return Forked(int(pid), read)


@cache
def _template() -> _Template:
    return _Template()


def serve(control: socket.socket) -> NoReturn:
    """Fork a process for each request, and report each exit code, until the tests end."""
    import gateway.app
    import gateway.cli  # noqa: F401

    gc.collect()
    gc.freeze()
    wakeup, written = os.pipe()
    os.set_blocking(written, False)
    signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests
    statuses: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([control.fileno(), wakeup], [], [])
        if wakeup in ready:
            os.read(wakeup, 1000)
            _report(statuses)
        if control.fileno() in ready:
            request, descriptors, _, _ = socket.recv_fds(control, 1 << 20, 4)
            if not request:
                os._exit(0)
            *files, status = descriptors
            pid = os.fork()
            if pid == 0:
                for descriptor in (*statuses.values(), status, wakeup, written):
                    os.close(descriptor)
                control.close()
                arguments, environment, folder = json.loads(request)
                _become(arguments, environment, folder, files)
            for file in files:
                os.close(file)
            statuses[pid] = status
            control.send(b"%d" % pid)


def _report(statuses: dict[int, int]) -> None:
    """Write the exit codes of the processes that have ended."""
    for pid in list(statuses):
        ended, wait_status = os.waitpid(pid, os.WNOHANG)
        if ended:
            status = statuses.pop(pid)
            os.write(status, b"%d" % os.waitstatus_to_exitcode(wait_status))
            os.close(status)


def _become(
    arguments: list[str], environment: dict[str, str], folder: str, files: list[int]
) -> NoReturn:
    """Run the program in this process, as `python -m gateway` does."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.argv = ["gateway", *arguments]
    runpy.run_module("gateway", run_name="__main__", alter_sys=True)
    sys.exit(0)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
