"""What users and sessions are called in the log: by a keyed hash, or where it is set as they are.

A plain hash of a user id is no secret: ids are short, numbered or known, so whoever reads the log
can hash all of them and compare. With a key that is not in the log nobody can. Workers that share
the key call a user the same, so that one search finds its lines on all of them; without a key set,
each draws one at its start, and names hold for its life only.
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
        """Return what an id of a user or session, in UTF-8, is called; takes 2 µs."""
        if self._key is None:
            return identity.decode()
        return hmac.digest(self._key, identity, "sha256").hex()[:HEX_DIGITS]


def pseudonyms(settings: Settings) -> Pseudonyms:
    """Return those that the settings ask for."""
    return Pseudonyms(None) if settings.log_users == "plain" else hashed(settings)


def hashed(settings: Settings) -> Pseudonyms:
    """Return those for a screen that others may see, whatever the log says."""
    if settings.log_key is None:
        return Pseudonyms(secrets.token_bytes())
    return Pseudonyms(settings.log_key.get_secret_value().encode())
