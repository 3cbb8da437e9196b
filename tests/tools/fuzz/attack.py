"""Hostile connections to one listener, and the invariants of each response."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
import time
from collections import Counter
from contextlib import suppress

from tests.tools.fuzz.hostile import Approach, Manner, approaches
from tests.tools.fuzz.report import Finding, Tried

HANDS = 16
"""Concurrent connections."""

MOST_HELD = 200
ANSWER_SECONDS = 0.25
"""Limit for a response; many inputs are incomplete requests and get none."""

REST_SECONDS = 0.02
READ_BYTES = 1 << 18

_STATUS = re.compile(rb"^HTTP/\d\.\d (\d{3})")
_FAULT = re.compile(rb"HTTP/\d\.\d 5\d\d")
_RESET = struct.pack("ii", 1, 0)


class Attack:
    """Concurrent connections to one listener from a shared iterator."""

    def __init__(self, name: str, port: int, seed: int, *, ops: bool) -> None:
        self.tried = 0
        self.findings: list[Finding] = []
        self.statuses: Counter[int] = Counter()
        self._name = name
        self._port = port
        self._approaches = approaches(seed, ops=ops)
        self._held: list[socket.socket] = []

    async def run(self, end: float, inputs: int | None) -> None:
        """Run until `end` (`time.monotonic()`), or for a number of inputs."""
        try:
            async with asyncio.TaskGroup() as hands:
                for _ in range(HANDS):
                    hands.create_task(self._hand(end, inputs))
        finally:
            for sock in self._held:
                sock.close()

    async def _hand(self, end: float, inputs: int | None) -> None:
        while self.tried != inputs and (inputs is not None or time.monotonic() < end):
            self.tried += 1
            approach = next(self._approaches)
            answer = await self._send(approach)
            if status := _STATUS.match(answer):
                self.statuses[int(status[1])] += 1
            elif answer:
                self._found(approach, f"not HTTP: {answer[:80]!r}")
            if fault := _FAULT.search(answer):
                self._found(approach, fault[0].decode())
            if b'{"n":' in answer:
                self._found(approach, "another user's event")

    def _found(self, approach: Approach, fault: str) -> None:
        self.findings.append(Finding(approach.data, f"{approach.manner.name}: {fault}"))

    async def _send(self, approach: Approach) -> bytes:
        """Return the response; empty if the client does not wait for it."""
        data, manner = approach
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setblocking(False)
        held = False
        try:
            async with asyncio.timeout(10):
                await loop.sock_connect(sock, ("127.0.0.1", self._port))
            with suppress(TimeoutError, ConnectionError):
                if manner in {Manner.HALF, Manner.HELD}:
                    data = data[: len(data) // 2]
                size = max(1, len(data) // 12) if manner is Manner.PIECES else len(data) or 1
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for start in range(0, len(data), size):
                    async with asyncio.timeout(ANSWER_SECONDS):
                        await loop.sock_sendall(sock, data[start : start + size])
                    await asyncio.sleep(0)
                if manner is Manner.HELD and len(self._held) < MOST_HELD:
                    self._held.append(sock)
                    held = True
                    return b""
                if manner is Manner.RESET:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                if manner not in {Manner.WHOLE, Manner.PIECES, Manner.FINISHED}:
                    return b""
                if manner is Manner.FINISHED:
                    sock.shutdown(socket.SHUT_WR)
            return await _answer(sock)
        finally:
            if not held:
                sock.close()

    def row(self, seconds: float) -> Tried:
        return Tried(self._name, "sockets", self.tried, seconds, tuple(self.findings))


async def _answer(sock: socket.socket) -> bytes:
    """Return the data until the connection ends or pauses."""
    loop = asyncio.get_running_loop()
    answer = b""
    with suppress(TimeoutError, ConnectionError):
        while True:
            async with asyncio.timeout(REST_SECONDS if answer else ANSWER_SECONDS):
                data = await loop.sock_recv(sock, READ_BYTES)
            if not data:
                break
            answer += data
    return answer
