"""The npm package: its files, and a page that is built with it and run in Chromium."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import re
import shutil
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import gateway
from tests.child import free_port, is_listening
from tests.demo.webdriver import Browser
from tests.eventually import eventually
from tests.javascript.node import CLIENT
from tests.javascript.relay import Relay
from tests.javascript.test_client import output
from tests.programs import require
from tests.records import RecordWriter
from tests.tokens import mint
from tests.writers.fetched import node_modules

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients" / "javascript"
PAGE = Path(__file__).parent / "page"

TEXT = "return document.querySelector('output')?.textContent"


async def page_modules() -> Path:
    require("node", "npm", in_ci=False)
    return await asyncio.to_thread(node_modules, PAGE)


async def packed(folder: Path, modules: Path) -> Path:
    """Return the folder of the package as `npm pack` makes it of a checkout."""
    source = folder / "checkout" / "clients" / "javascript"
    generated = shutil.ignore_patterns("node_modules", "client.*", "*.tgz")
    shutil.copytree(PACKAGE, source, ignore=generated)
    (source / "node_modules").symlink_to(modules)
    shutil.copytree(CLIENT.parent, folder / "checkout" / "gateway" / "http" / "static")
    archive = (await output("npm", "pack", "--silent", cwd=source)).strip().splitlines()[-1]
    with tarfile.open(source / archive) as files:
        files.extractall(folder, filter="data")
    return folder / "package"


async def test_the_package_has_the_served_client_its_types_and_a_source_map(
    tmp_path: Path,
) -> None:
    package = await packed(tmp_path, await page_modules())
    assert sorted(file.name for file in package.iterdir()) == [
        "README.md",
        "client.d.ts",
        "client.js",
        "client.min.js",
        "client.min.js.map",
        "package.json",
        "react.d.ts",
        "react.js",
    ]
    for name in ("client.js", "client.d.ts"):
        assert (package / name).read_bytes() == CLIENT.with_name(name).read_bytes()
    described = json.loads((package / "package.json").read_text())
    assert described["version"] == gateway.__version__
    for entry in described["exports"].values():
        for path in [entry] if isinstance(entry, str) else entry.values():
            assert (package / path).is_file()
    mapped = json.loads((package / "client.min.js.map").read_text())
    assert mapped["sourcesContent"] == [CLIENT.read_text()]


async def test_the_sizes_that_are_stated_are_those_of_the_package(tmp_path: Path) -> None:
    package = await packed(tmp_path, await page_modules())
    stated = re.findall(
        r"\| `(client\S*)` \| ([\d.]+) \| ([\d.]+) \|", (PACKAGE / "README.md").read_text()
    )
    assert len(stated) == 2
    for name, plain, compressed in stated:
        body = (package / name).read_bytes()
        assert len(body) / 1024 == pytest.approx(float(plain), rel=0.05)
        assert len(gzip.compress(body)) / 1024 == pytest.approx(float(compressed), rel=0.05)


@asynccontextmanager
async def built_page(folder: Path, target: str) -> AsyncIterator[str]:
    """Type-check and build the page with the package; serve it, with `/api` passed to `target`."""
    modules = await page_modules()
    package = await packed(folder, modules)
    page = folder / "page"
    shutil.copytree(PAGE, page)
    (page / "node_modules").mkdir()
    for module in modules.iterdir():
        (page / "node_modules" / module.name).symlink_to(module)
    shutil.copytree(package, page / "node_modules" / "kafka-sse-gateway")
    vite = str(modules / "vite" / "bin" / "vite.js")
    await output("node", str(modules / "typescript" / "bin" / "tsc"), "-p", ".", cwd=page)
    await output("node", vite, "build", "--logLevel", "error", cwd=page)
    port = free_port()
    preview = await asyncio.create_subprocess_exec(
        *("node", vite, "preview", "--host", "127.0.0.1", "--port", str(port), "--strictPort"),
        cwd=page,
        env={**os.environ, "GATEWAY": target},
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        await eventually("the page is served", lambda: is_listening(port))
        yield f"http://127.0.0.1:{port}"
    finally:
        preview.terminate()
        await preview.wait()


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
async def test_a_page_of_react_and_vite_shows_an_answer_that_is_cut_and_reloaded(
    browser: Browser, relay: Relay, write: RecordWriter, user: str, tmp_path: Path
) -> None:
    since = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    words = [f"word{number} " for number in range(40)]

    async def say(*some: str) -> None:
        for word in some:
            chunk = json.dumps({"text": word}).encode()
            await write.event(user, "ai.response.chunk", chunk)

    async with built_page(tmp_path, relay.url) as url:
        address = f"{url}/?token={mint(user)}&since={since.replace('+', '%2B')}"
        await browser.open(address)
        await browser.wait_for("return document.querySelector('output')?.dataset.state === '1'")
        await write.event(user, "import.started")  # of another category
        await say(*words[:20])
        await browser.wait_for(f"{TEXT} === {json.dumps(''.join(words[:20]))}")
        relay.is_away = True
        relay.cut()
        await say(*words[20:30])
        relay.is_away = False
        await say(*words[30:])
        await browser.wait_for(f"{TEXT} === {json.dumps(''.join(words))}")
        await browser.open(address)
        await browser.wait_for(f"{TEXT} === {json.dumps(''.join(words))}")
