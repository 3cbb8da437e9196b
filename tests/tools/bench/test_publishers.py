"""Requests that publish an event to each rival."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs

import jwt
import msgspec
import pytest

from tests.tokens import SECRET
from tests.tools.bench.forms import DURABLE, FORMS, MERCURE, NCHAN
from tests.tools.bench.payload import Payload
from tests.tools.bench.pushes import GREETING, LONG, READY, Push

PAYLOAD = b'{"n":1,"t":2,"pad":"x"}'


@pytest.mark.parametrize("server", [NCHAN, DURABLE])
def test_a_body_is_the_payload_where_the_path_names_the_channel(server: str) -> None:
    form = FORMS[server]
    assert form.path.format(channel="bench-1").endswith("/bench-1")
    assert form.body("bench-1", PAYLOAD) == PAYLOAD


def test_an_update_for_mercure_is_private_and_signed() -> None:
    form = FORMS[MERCURE]
    fields = parse_qs(form.body("bench-1", PAYLOAD).decode())
    assert fields["topic"] == ["bench-1"]
    assert fields["private"] == ["on"]
    assert fields["data"] == [PAYLOAD.decode()]
    token = form.headers().partition(b"Bearer ")[2].strip().decode()
    claims = jwt.decode(token, SECRET, algorithms=["HS256"])
    assert claims["mercure"] == {"publish": ["*"]}


class Wire(asyncio.Transport):
    """Collects the bytes that a PUSH socket writes."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.written += data


def test_an_event_for_pushpin_is_one_message_of_zmtp() -> None:
    wire = Wire()
    push = Push()
    push.connection_made(wire)
    push.send("POST", "bench-1", 7)
    sent = wire.written.removeprefix(GREETING + READY)
    flag, size, message = sent[:1], sent[1:9], sent[9:]
    assert flag == LONG
    assert int.from_bytes(size, "big") == len(message)
    item = msgspec.json.decode(message.removeprefix(b"J"))
    assert item["channel"] == "bench-1"
    head, data = item["formats"]["http-stream"]["content"].split("data: ")
    assert head == "id: 7\nevent: import.progress\n"
    assert msgspec.json.decode(data, type=Payload).n == 7
