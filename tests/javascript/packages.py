"""The packages of npm that the tests take, installed once into `.node/` of the repository."""

from __future__ import annotations

import asyncio
import fcntl
import shutil
from pathlib import Path

from tests.programs import require

SOURCES = Path(__file__).parent
CACHE = SOURCES.parents[1] / ".node"
INSTALL_SECONDS = 100.0


async def packages() -> Path:
    """Return the folder `node_modules`. Skips the test where there is no Node."""
    require("node", "npm")
    return await asyncio.to_thread(_locked, asyncio.get_running_loop())


def _locked(loop: asyncio.AbstractEventLoop) -> Path:
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        wanted, done = SOURCES / "package.json", CACHE / "installed.json"
        if not done.exists() or done.read_bytes() != wanted.read_bytes():
            shutil.copy(wanted, CACHE)
            asyncio.run_coroutine_threadsafe(_install(), loop).result()
            shutil.copy(wanted, done)
    return CACHE / "node_modules"


async def _install() -> None:
    options = ("--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts")
    process = await asyncio.create_subprocess_exec(
        "npm",
        "install",
        *options,
        cwd=CACHE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(INSTALL_SECONDS):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode(errors="replace")
