"""Verify a token as a worker with these settings does, and explain the result.

The explanation may quote claims: show it only to the holder of the token.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from gateway.commands.console import harmless
from gateway.errors import KeySetError, NotReady, SettingsError, Unauthorized
from gateway.files import MAX_BYTES, read_file
from gateway.http.auth.signing_keys import SigningKeys
from gateway.http.auth.tokens import Authenticator
from gateway.readiness import Readiness
from gateway.revocation.table import Revocations

if TYPE_CHECKING:
    from gateway.config import Settings


TokenFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Explain the verdict on the token in FILE; -: standard input.",
    ),
]


class Verdict(NamedTuple):
    """Whether a token is accepted, and the user or the reason on one line."""

    accepted: bool
    line: str


def read_token(path: Path) -> str:
    """Return the token from a file, or from standard input for `-`, without `Bearer`.

    Raises `SettingsError` if the file cannot be read.
    """
    try:
        content = (
            sys.stdin.buffer.read(MAX_BYTES) if str(path) == "-" else read_file(path, may_wait=True)
        )
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    text = content.decode(errors="replace").strip()
    return text[7:].strip() if text[:7].lower() == "bearer " else text


async def judge(settings: Settings, token: str) -> Verdict:
    """Return the verdict of a worker on the token now, without revocations.

    Revocations are ignored because Kafka is not read. Fetches published keys. Raises
    `SettingsError` for an unusable key.
    """
    keys = SigningKeys(settings, Readiness())
    missing = []
    for client in keys.clients:
        try:
            await client.load()
        except KeySetError as error:
            missing.append(f"{client.setting}: {error}")
    authenticator = Authenticator(settings, keys.each, Revocations())
    now = time.time()
    try:
        identity = authenticator.verify(token, now)
    except Unauthorized as error:
        return Verdict(False, harmless(f"{error.fault}: {error.explanation}"))
    except NotReady:
        return Verdict(False, harmless("; ".join(missing)))
    facts = [f"user {identity.user!r}", f"expires in {identity.expires_at - now:.0f} s"]
    if identity.session is not None:
        facts.append(f"session {identity.session!r}")
    if identity.scopes is not None:
        facts.append(f"may read {', '.join(sorted(identity.scopes)) or 'nothing'}")
    return Verdict(True, harmless(", ".join(facts)))
