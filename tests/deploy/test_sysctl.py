"""The kernel settings: the kernel accepts them, and they are large enough for the workers."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config import load_settings
from gateway.http.transport.connection import SEND_BUFFER
from gateway.http.transport.listen import BACKLOG
from tests.docs.markdown import ROOT
from tests.programs import require

SYSCTL = ROOT / "deploy/sysctl.d/90-kafka-sse-gateway.conf"

STREAMS = 100_000

WORKER_PORTS = range(18_000, 18_200)
"""Settings in `deploy/systemd/gateway@.service`."""

SHARED = frozenset({"net.ipv4.tcp_mem", "fs.file-max"})
"""Settings shared by all network namespaces of a machine; no test may change them."""


def settings() -> dict[str, list[int]]:
    lines = [line for line in SYSCTL.read_text().splitlines() if line and not line.startswith("#")]
    pairs = (line.split(" = ") for line in lines)
    return {name.lstrip("-"): [int(word) for word in value.split()] for name, value in pairs}


SETTINGS = settings()


@pytest.mark.parametrize("name", sorted(name for name in SETTINGS if "conntrack" not in name))
def test_the_kernel_accepts_each_setting(name: str) -> None:
    require("unshare")
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs Linux and root")
    path = Path("/proc/sys", *name.split("."))
    assert path.exists()
    if name in SHARED:
        return
    value = " ".join(map(str, SETTINGS[name]))
    script = f"echo {shlex.quote(value)} > {path}; cat {path}"
    command = ["unshare", "--net", "sh", "-ec", script]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.stdout.split() == value.split(), ran.stderr


def test_the_listen_backlog_fits_the_workers_request() -> None:
    assert SETTINGS["net.core.somaxconn"][0] >= BACKLOG


def test_the_port_range_covers_a_reconnect_of_all_streams() -> None:
    low, high = SETTINGS["net.ipv4.ip_local_port_range"]
    assert high - low >= 2 * load_settings().max_streams
    assert low >= WORKER_PORTS.stop


def test_the_send_buffer_of_a_worker_is_below_the_kernel_limit() -> None:
    assert SETTINGS["net.ipv4.tcp_wmem"][2] >= 2 * SEND_BUFFER


def test_tcp_memory_covers_clients_that_do_not_read() -> None:
    _, pressure, most = SETTINGS["net.ipv4.tcp_mem"]
    assert pressure * 4096 >= 30_000 * 2 * SEND_BUFFER
    assert most > pressure


def test_files_and_conntrack_entries_cover_every_connection() -> None:
    assert SETTINGS["fs.file-max"][0] >= 2 * 3 * STREAMS
    assert SETTINGS["net.netfilter.nf_conntrack_max"][0] >= 2 * 2 * STREAMS
    silent = SETTINGS["net.netfilter.nf_conntrack_tcp_timeout_established"][0]
    assert silent >= 10 * load_settings().heartbeat_seconds
