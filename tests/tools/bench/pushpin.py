"""Pushpin for comparison, with a generated configuration, on loopback only.

The system's Pushpin, its service and its configuration are not touched.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.request import urlopen

from tests.child import free_port
from tests.eventually import eventually
from tests.tools.bench.helper import helper
from tests.tools.bench.server import Server, running

LIBRARY = Path("/usr/lib/pushpin")


def is_installed() -> bool:
    """Whether Pushpin is installed, as Debian packages it."""
    return shutil.which("pushpin") is not None and LIBRARY.exists()


@asynccontextmanager
async def pushpin() -> AsyncIterator[tuple[Server, int]]:
    """Run Pushpin and the server behind it; yield Pushpin and the port that takes events (ZeroMQ).

    The server behind it is a separate process, whose CPU and memory do not count. Pushpin's files
    are in the system's folder for temporary files: paths of sockets have at most 107 bytes.
    """
    with tempfile.TemporaryDirectory(prefix="pushpin-") as home:
        async with _serving(Path(home)) as found:
            yield found


@asynccontextmanager
async def _serving(home: Path) -> AsyncIterator[tuple[Server, int]]:
    backend, control, port = free_port(), free_port(), free_port()
    (home / "routes").write_text(f"* 127.0.0.1:{backend}\n")
    file = home / "pushpin.conf"
    file.write_text(_configuration(home, port, control))
    async with helper("backend", backend) as behind:
        await behind.answer(int)
        command = ["pushpin", "--config", str(file), "--merge-output"]
        async with running(command, port, home) as server:
            await eventually("Pushpin holds a stream", partial(_holds, port))
            yield server, control


def _holds(port: int) -> bool:
    """Whether a stream opens: Pushpin listens before its processes have found each other."""
    try:
        urlopen(f"http://127.0.0.1:{port}/probe", timeout=1).close()
    except OSError:
        return False
    return True


def _configuration(home: Path, port: int, control: int) -> str:
    """Return a configuration with capacity for every row; zurl asks the server behind Pushpin.

    Without a `message_rate`: its limiter waits until no event has come for 25 ms.
    """
    return f"""\
[global]
include={LIBRARY}/internal.conf
rundir={home}
ipc_prefix=bench-
[runner]
services=condure,zurl,pushpin-proxy,pushpin-handler
http_port=127.0.0.1:{port}
logdir={home}
log_level=0
client_buffer_size=8192
client_maxconn=20000
condure_bin=condure
zurl_bin=zurl
[proxy]
routesfile=routes
sig_key=bench
updates_check=off
zurl_out_specs=ipc://{home}/bench-zurl-in
zurl_out_stream_specs=ipc://{home}/bench-zurl-in-stream
zurl_in_specs=ipc://{home}/bench-zurl-out
[handler]
push_in_spec=tcp://127.0.0.1:{control}
stats_spec=ipc://{home}/bench-stats
command_spec=ipc://{home}/bench-command
message_rate=0
message_hwm=1000000
message_wait=5000
id_cache_ttl=60
connection_subscription_max=20
subscription_linger=60
stats_connection_ttl=120
stats_subscription_ttl=60
stats_report_interval=10
stats_format=tnetstring
"""
