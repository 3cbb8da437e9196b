"""Nchan for comparison: nginx with its module and a generated configuration, on loopback only.

The system's nginx, its service and its configuration are not touched.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.child import free_port
from tests.tools.bench.load import EVENT_TYPE
from tests.tools.bench.server import Server, running

MODULE = "ngx_nchan_module.so"
MODULES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")

MISSING = "nginx with libnginx-mod-nchan is not installed: Nchan is not measured"


def is_installed() -> bool:
    """Whether Nchan is installed."""
    return shutil.which("nginx") is not None and _module() is not None


@asynccontextmanager
async def nchan(folder: Path) -> AsyncIterator[Server]:
    """Run Nchan while the block runs: `POST /pub/NAME`, `GET /sub/NAME`, one worker process."""
    home = Path(tempfile.mkdtemp(prefix="nchan-", dir=folder))
    port = free_port()
    configuration = home / "nginx.conf"
    configuration.write_text(_configuration(home, port))
    command = ["nginx", "-p", str(home), "-e", str(home / "error.log"), "-c", str(configuration)]
    async with running(command, port, home) as server:
        yield server


def _module() -> Path | None:
    return next((path for folder in MODULES if (path := Path(folder, MODULE)).exists()), None)


def _configuration(home: Path, port: int) -> str:
    """Return a configuration with capacity for every row and without unneeded features."""
    folders = "\n".join(
        f"    {name}_temp_path {home / name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""\
load_module {_module()};
{"user root;" if os.geteuid() == 0 else ""}
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {home / "nginx.pid"};
error_log {home / "error.log"} error;
events {{ worker_connections 20000; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    nchan_max_reserved_memory 512M;
{folders}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location ~ ^/pub/(.+)$ {{
            nchan_publisher http;
            nchan_channel_id $1;
            nchan_eventsource_event {EVENT_TYPE};
            nchan_message_buffer_length 1000;
            nchan_message_timeout 10m;
        }}
        location ~ ^/sub/(.+)$ {{
            nchan_subscriber eventsource;
            nchan_channel_id $1;
            nchan_subscriber_first_message newest;
        }}
    }}
}}
"""
