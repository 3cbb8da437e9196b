"""The identity in a token, values of its claims, and the error for a refused token.

A token that is refused is refused with the same words whatever is wrong with it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.errors import TokenFault, Unauthorized
from gateway.issuers import UserId, find_claim

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_CLAIM_BYTES = 512
"""Of a user or session id. The user is hashed and compared for every record of a partition."""

MAX_SOURCE_GROUPS = 16
"""Groups that a claim may list: each may be in another partition that the stream follows."""

MAX_GROUPS = 32
"""Groups of a token in all sources, so that an event id holds a position for each."""

MAX_GROUP_BYTES = 128
"""Of the name of a group, which is part of record keys."""

MAX_NUMBER = 2**53 - 1
"""The largest integer that every JSON parser reads alike (RFC 8259, §6); as an id it is text."""

MAX_DATE = 253_402_300_799
"""The end of the year 9999 in Unix seconds; beyond it stand milliseconds taken for seconds."""

CHALLENGE = 'Bearer realm="gateway"'
INVALID = {"WWW-Authenticate": f'{CHALLENGE}, error="invalid_token"'}
WORDS = "the token is not accepted"

_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Identity(NamedTuple):
    """What a verified token says: times in Unix seconds, None for missing claims."""

    user: str
    """The user id, in the namespace of its issuer."""
    session: str | None
    expires_at: float
    issued_at: float | None
    scopes: frozenset[str] | None = None
    """Scopes without their prefix (`gateway.http.scopes`); None: scopes do not count."""
    groups: Mapping[str, tuple[bytes, ...]] = {}
    """The record keys of the user's groups, by topic; never modified."""


def user_of(claims: dict[str, Any], template: UserId) -> str:
    """Return the user id. Raises `Unauthorized`."""
    value = text_of(claims, template.claim)
    if value is None:
        raise refusal(TokenFault.CLAIM_MISSING, f"there is no {template.claim}, the user id")
    user = template.of(value)
    if len(user.encode()) > MAX_CLAIM_BYTES:
        raise refusal(TokenFault.CLAIM_TYPE, f"the user id has more than {MAX_CLAIM_BYTES} bytes")
    return user


def groups_of(claims: dict[str, Any], name: str) -> list[bytes]:
    """Return the groups that a claim lists, each once, in order. Raises `Unauthorized`."""
    found = find_claim(claims, name)
    listed = found if isinstance(found, list) else [] if found is None else [found]
    if len(listed) > MAX_SOURCE_GROUPS:
        raise refusal(
            TokenFault.CLAIM_TYPE,
            f"{name} lists {len(listed)} groups; a source takes at most {MAX_SOURCE_GROUPS}",
        )
    names = set()
    for each in listed:
        group = _printable(each)
        if group is None:
            raise refusal(
                TokenFault.CLAIM_TYPE, f"{name} lists a group that is not a printable text"
            )
        if len(group.encode()) > MAX_GROUP_BYTES:
            raise refusal(
                TokenFault.CLAIM_TYPE,
                f"{name} lists a group of more than {MAX_GROUP_BYTES} bytes",
            )
        names.add(group.encode())
    return sorted(names)


def refusal(fault: TokenFault, explanation: str) -> Unauthorized:
    """Return the error for a token that is not accepted, in the same words whatever the fault."""
    return Unauthorized(WORDS, INVALID, fault, explanation)


def date_of(claims: dict[str, Any], name: str) -> float | None:
    """Return a claim as Unix seconds, None if it is missing. Raises `Unauthorized`."""
    if name not in claims:
        return None
    value = claims[name]
    # The comparison comes first: it is false for NaN, and `float` would raise for a huge number.
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= MAX_DATE:
        raise refusal(TokenFault.CLAIM_TYPE, f"{name} is not a Unix time in seconds")
    return float(value)


def text_of(claims: dict[str, Any], name: str) -> str | None:
    """Return a claim as text, an integer too; None where it is missing or null."""
    value = find_claim(claims, name)
    if value is None:
        return None
    text = _printable(value)
    if text is None:
        raise refusal(TokenFault.CLAIM_TYPE, f"{name} is not a printable text or an integer")
    if len(text.encode()) > MAX_CLAIM_BYTES:
        raise refusal(TokenFault.CLAIM_TYPE, f"{name} has more than {MAX_CLAIM_BYTES} bytes")
    return text


def _printable(value: object) -> str | None:
    """Return a text or an integer as text; None for anything else, and for control characters."""
    if type(value) is int and abs(value) <= MAX_NUMBER:
        return str(value)
    return value if isinstance(value, str) and value.strip() and not _UNFIT.search(value) else None
