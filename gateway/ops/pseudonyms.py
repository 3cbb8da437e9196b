"""The names of users and sessions in the log: a keyed hash, or the id itself where that is set.

A plain hash would not hide a user id: ids are short, numbered or known, and a reader of the log
could hash and compare all of them. The key is not in the log. Workers with the same key use the
same name for a user, so one search finds the lines of all workers; without a configured key each
worker creates a key at its start, and its names are valid until it stops.
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.config import Settings

HEX_DIGITS = 16
"""64 bits of the hash: two of a hundred million users share a name with a chance of 1 in 4,000."""


class Pseudonyms:
    """Names for identities; with the key None they are their own."""

    def __init__(self, key: bytes | None) -> None:
        self._key = key

    def name(self, identity: bytes) -> str:
        """Return the log name of a user or session id in UTF-8; takes 2 µs."""
        if self._key is None:
            return identity.decode()
        return hmac.digest(self._key, identity, "sha256").hex()[:HEX_DIGITS]


def pseudonyms(settings: Settings) -> Pseudonyms:
    """Return the pseudonyms that the settings ask for."""
    return Pseudonyms(None) if settings.log_users == "plain" else hashed(settings)


def hashed(settings: Settings) -> Pseudonyms:
    """Return those for a screen that others may see, whatever the log says."""
    if settings.log_key is None:
        return Pseudonyms(secrets.token_bytes())
    return Pseudonyms(settings.log_key.get_secret_value().encode())
