"""A file with the last event id of a stream, so that a program resumes after a restart.

A file and the effect of an event cannot change atomically. A program that is killed between the two
either receives its last event again or never, and the caller chooses which. Where the effect is a
database transaction, store `Message.id` in the same transaction instead: then each event counts
exactly once.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path

from gateway.errors import IdFileError


class Delivery(StrEnum):
    """The first event after a restart, for a program killed while it handled an event."""

    AT_LEAST_ONCE = "at least once"
    """The same event: its id is stored when the next event is requested."""

    AT_MOST_ONCE = "at most once"
    """The next event: the id is stored before the event is returned."""


class IdFile:
    """A last event id in a dedicated file that is replaced atomically.

    The id survives any end of the program. The file is not synced to disk, which would cost
    milliseconds per event: after a power failure the id may be older.
    """

    def __init__(self, path: str | os.PathLike[str], delivery: Delivery) -> None:
        self._path = Path(path)
        self._delivery = delivery
        self._kept = ""

    def load(self) -> str:
        """Return the id; "" where the file does not exist yet.

        Raises `IdFileError` where the file is unreadable or empty: a silent start from now would
        lose events.
        """
        try:
            self._kept = self._path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeDecodeError) as error:
            raise IdFileError(f"{self._path} cannot be read: {error}") from error
        if not self._kept.isprintable() or not self._kept:
            raise IdFileError(
                f"{self._path} contains no event id; remove the file to start from now"
            )
        return self._kept

    def handed_out(self, event_id: str) -> None:
        """Store the id of the event that is about to be returned, for at-most-once delivery."""
        if self._delivery is Delivery.AT_MOST_ONCE:
            self._keep(event_id)

    def handled(self, event_id: str) -> None:
        """Store the id of the last event that the program has handled."""
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
