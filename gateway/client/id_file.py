"""Where a stream has come to, kept in a file, so that a program goes on there after a restart.

A file and the effect of an event cannot change together, so a program that is killed between the
two either sees its last event again or never: whoever makes the file has to say which. Where the
effect is a transaction of a database, keep `Message.id` in the same transaction instead; then each
event counts exactly once.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path

from gateway.errors import IdFileError


class Delivery(StrEnum):
    """What a program that was killed while it handled an event gets when it comes back."""

    AT_LEAST_ONCE = "at least once"
    """That event again: the id is kept when the next one is asked for."""

    AT_MOST_ONCE = "at most once"
    """The one after it: the id is kept before the event is handed out."""


class IdFile:
    """An id in a file of its own, which is replaced as a whole.

    It outlives the program, however that ends. It is not forced to the disk, which would cost
    milliseconds for each event: after a power cut the id may be an older one.
    """

    def __init__(self, path: str | os.PathLike[str], delivery: Delivery) -> None:
        self._path = Path(path)
        self._delivery = delivery
        self._kept = ""

    def load(self) -> str:
        """Return the id, or none where there is no file yet.

        Raises `IdFileError` where the file cannot be read, or is empty: to begin anew in silence
        would be a loss.
        """
        try:
            self._kept = self._path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise IdFileError(f"{self._path} cannot be read: {error}") from error
        if not self._kept.isprintable() or not self._kept:
            raise IdFileError(f"{self._path} holds no id; remove it to begin from now on")
        return self._kept

    def handed_out(self, event_id: str) -> None:
        """Take the id behind what the program is about to get."""
        if self._delivery is Delivery.AT_MOST_ONCE:
            self._keep(event_id)

    def handled(self, event_id: str) -> None:
        """Take the id behind all that the program is done with."""
        self._keep(event_id)

    def _keep(self, event_id: str) -> None:
        if event_id == self._kept:
            return
        beside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            beside.write_text(event_id + "\n", encoding="utf-8")
            beside.replace(self._path)
        except OSError as error:
            raise IdFileError(f"{self._path} cannot be written: {error}") from error
        self._kept = event_id
