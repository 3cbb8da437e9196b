"""A separate network for clients that can be cut: packets are dropped without any error.

It takes a network namespace and a pair of virtual devices, so Linux, root and iproute2.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.eventually import DEADLINE
from tests.http.raw_client import SMALL_BUFFER
from tests.programs import require

HERE, THERE = "198.18.0.1", "198.18.0.2"
"""Of the networks that are set aside for tests of devices (RFC 2544)."""

NEW_NETWORK = 0x40000000
"""`CLONE_NEWNET` of setns(2); Python has it from 3.12 on."""


class Network:
    """A network at whose end clients are; servers that they reach listen on `HERE`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def make_socket(self) -> socket.socket:
        """Return a socket in the network, which any thread can use."""
        with ThreadPoolExecutor(1) as thread:  # the namespace of a thread ends with it
            return thread.submit(self._enter).result()

    def cut(self) -> None:
        """Let the network swallow everything, as when a phone has gone elsewhere."""
        _ip("-netns", self._name, "address", "flush", "dev", "there")

    def _enter(self) -> socket.socket:
        with open(f"/run/netns/{self._name}", "rb") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), NEW_NETWORK):
                raise OSError(ctypes.get_errno(), "setns")
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        return sock


@contextmanager
def network() -> Iterator[Network]:
    """Make a network for the block; skip the test where that cannot be done."""
    name = f"gw{uuid.uuid4().hex[:8]}"
    require("ip", in_ci=False)
    if os.geteuid() != 0:
        pytest.skip("no network namespaces: they take root")
    try:
        _ip("netns", "add", name)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
    try:
        try:
            peer = ("type", "veth", "peer", "name", "there", "netns", name)
            _ip("link", "add", name, *peer)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no virtual network devices here: {error.stderr.strip()}")
        try:
            _ip("address", "add", f"{HERE}/30", "dev", name)
            _ip("link", "set", name, "up")
            _ip("-netns", name, "address", "add", f"{THERE}/30", "dev", "there")
            _ip("-netns", name, "link", "set", "there", "up")
            yield Network(name)
        finally:
            _ip("link", "delete", name)  # the namespace may live on with a dying socket in it
    finally:
        _ip("netns", "delete", name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=DEADLINE)
