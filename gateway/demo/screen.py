"""Terminal output of the demo: addresses, commands to copy, and a live counter."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

    from gateway.demo.numbering import NumberedPublisher

REFRESH_SECONDS = 0.5


class Screen:
    """Terminal output of one demo; the printed commands show the events of the token's user."""

    def __init__(self, console: Console, kafka: str, url: str, ops_url: str, token: str) -> None:
        self._console = console
        self._url = url
        self._ops_url = ops_url
        self._kafka = kafka
        self._token = token

    async def starting(self) -> None:
        """Show a spinner until cancelled."""
        with self._console.status(f"Waiting for Kafka at {self._kafka} …"):
            await asyncio.Event().wait()

    def welcome(self) -> None:
        """Print the addresses and commands."""
        bearer = f"Authorization: Bearer {self._token}"
        self._print()
        self._print(("  Live events are at ", "bold"), (f"{self._url}/demo", "bold underline cyan"))
        self._print()
        self._print(("  In a terminal:", "dim"))
        self._print()
        self._print(f"  {_program()} tail --url {self._url} --token {self._token}")
        self._print()
        self._print(f"  curl -N -H '{bearer}' {self._url}/api/v1/events")
        self._print()
        self._print((f"  Dashboard: {self._ops_url}/ops   Kafka: {self._kafka}", "dim"))
        self._print()

    async def count(self, publisher: NumberedPublisher) -> None:
        """Show the number of published events until cancelled."""
        with self._console.status("") as status:
            while True:
                text = f"{publisher.total:,} events published"
                if publisher.refused:
                    text += f", {publisher.refused:,} rejected by Kafka"
                status.update(Text(f"{text} · Ctrl-C stops the demo", style="dim"))
                await asyncio.sleep(REFRESH_SECONDS)

    def _print(self, *parts: str | tuple[str, str]) -> None:
        # No wrapping here: text that the terminal wraps is copied as one line.
        self._console.print(Text.assemble(*parts), soft_wrap=True)


def _program() -> str:
    """Return the command for `gateway`; `make demo` does not add it to the path."""
    if shutil.which("gateway") is not None:
        return "gateway"
    return os.path.relpath(Path(sys.executable).with_name("gateway"))
