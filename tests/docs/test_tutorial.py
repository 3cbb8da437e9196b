"""The tutorial runs from its first command to its last, in one folder, as its reader runs it."""

from __future__ import annotations

import asyncio
import re
import signal
from contextlib import AsyncExitStack
from pathlib import Path

from tests.child import free_port, is_listening
from tests.demo.webdriver import Browser
from tests.docs.markdown import ROOT, blocks
from tests.docs.shell import Shell
from tests.eventually import eventually

TUTORIAL = ROOT / "docs/tutorial.md"

INSTALLING = re.compile(r"^(?:python3 -m venv|source|pip) .*\n", re.MULTILINE)
"""Lines that install the program: tests/test_wheel.py."""

STATE = "return document.querySelector('#state').innerText"
ROWS = "return [...document.querySelectorAll('#events li')].map((item) => parseInt(item.innerText))"


def steps(language: str) -> list[str]:
    """Return the blocks of a language, without the lines that install the program."""
    return [INSTALLING.sub("", block.text) for block in blocks(language, documents=[TUTORIAL])]


async def test_each_step_of_the_tutorial_shows_its_result(tmp_path: Path, browser: Browser) -> None:
    demo, serve, read, write, serve_page, write_again, miss, serve_again = steps("sh")
    (event,), (page,) = steps("sse"), steps("html")
    ports = {port: free_port() for port in (9092, 8090, 8091, 8080, 8081, 8000)}
    addresses = {"LISTEN": ports[8080], "OPS_LISTEN": ports[8081]}
    own = {f"GATEWAY_{name}": f"127.0.0.1:{port}" for name, port in addresses.items()}
    shell = Shell(tmp_path, ports, {**own, "PYTHONUNBUFFERED": "1"})
    exports = exported(read)
    await asyncio.to_thread((tmp_path / "page").mkdir)
    await asyncio.to_thread((tmp_path / "page/index.html").write_text, shell.local(page))

    async with AsyncExitStack() as terminals:
        first = await terminals.enter_async_context(shell.started(demo))
        await first.until("Dashboard:")
        printed = re.findall(r"^ +(\S*gateway .+|curl .+)$", first.out, re.MULTILINE)
        for line, code in zip(printed, (130, -2), strict=True):
            await shell.interrupt(line, "connected|id:", code)
        async with shell.started(serve) as worker:
            await worker.until('"event": "ready"')
            assert worker.out.count("not reported by the broker") == 4
            async with shell.started(f"{read}wait") as reader:
                await reader.until("^id:")
                await shell.run(exports + write)
                await reader.until(re.escape(event.strip()))
            await terminals.enter_async_context(shell.started(f"{exports}{serve_page}wait"))
            await eventually("the page is served", lambda: is_listening(ports[8000]))
            await browser.open(f"http://127.0.0.1:{ports[8000]}")
            await browser.expect(STATE, "connected")
            await shell.run(exports + write_again)
            await browser.expect(ROWS, [10])
            worker.signal(signal.SIGINT)
            await worker.rest()
            assert worker.code == 0
        await shell.run(exports + miss)
        second = exported(serve).replace("$(openssl rand -base64 48)", "$(cat .secret)")
        again = await terminals.enter_async_context(shell.started(second + serve_again))
        await again.until('"event": "ready"')
        await browser.expect(ROWS, [10, 11, 12])


def exported(script: str) -> str:
    """Return the lines that set the variables of a terminal."""
    return "".join(re.findall(r"^export .*\n", script, re.MULTILINE))
