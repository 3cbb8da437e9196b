"""A JSON Web Key Set (RFC 7517) read as the keys that a token's header can name.

Each key is entered under its `kid` and under no name, for every accepted algorithm that it goes
with: by its kind, its curve and its length, and by its members `alg`, `use` and `key_ops`.
A look-up is one step, and never finds a key that must not be used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from gateway.errors import KeySetError
from gateway.http.auth.keys import MAX_TRIED, PublicKey, fault

KeySet = Mapping[tuple[str | None, str], tuple[PublicKey, ...]]
"""Keys by `kid` (or None) and algorithm."""

_KINDS: Mapping[str, type[RSAAlgorithm | ECAlgorithm | OKPAlgorithm]] = {
    "RSA": RSAAlgorithm,
    "EC": ECAlgorithm,
    "OKP": OKPAlgorithm,
}
"""The kinds of keys by `kty`. `oct` is left out: a published secret is not secret."""


class _Document(msgspec.Struct):
    keys: list[msgspec.Raw]


class _Jwk(msgspec.Struct):
    kty: str
    kid: str | None = None
    alg: str | None = None
    use: str | None = None
    key_ops: list[str] | None = None
    crv: str | None = None
    n: str | None = None
    e: str | None = None
    x: str | None = None
    y: str | None = None
    d: Any = None


def read_key_set(document: bytes, algorithms: Sequence[str]) -> KeySet:
    """Return the usable keys of a document.

    Keys that cannot be read, or go with none of the algorithms, are left out (RFC 7517, §5). Raises
    `KeySetError` where nothing is left, or the document is not a key set.
    """
    try:
        keys = msgspec.json.decode(document, type=_Document).keys
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise KeySetError(
            "the response is not a JSON Web Key Set", "set the URL at which the keys are"
        ) from None
    found: dict[tuple[str | None, str], tuple[PublicKey, ...]] = {}
    for raw in keys:
        jwk = _read(raw)
        key = None if jwk is None else _public_key(jwk)
        if jwk is None or key is None:
            continue
        for algorithm in algorithms:
            if jwk.alg in {None, algorithm} and fault(key, algorithm) is None:
                for kid in {jwk.kid, None}:
                    held = found.get((kid, algorithm), ())
                    found[kid, algorithm] = (*held, key)[:MAX_TRIED]
    if not found:
        raise KeySetError(
            f"the set lacks a key for {', '.join(algorithms)}",
            "have the provider publish one, or set the accepted algorithms to those of its keys",
        )
    return found


def _read(raw: msgspec.Raw) -> _Jwk | None:
    try:
        jwk = msgspec.json.decode(raw, type=_Jwk)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    if jwk.use not in {None, "sig"} or (jwk.key_ops is not None and "verify" not in jwk.key_ops):
        return None
    # Every reader of the set could sign with a private key that it contains.
    return jwk if jwk.d is None else None


def _public_key(jwk: _Jwk) -> PublicKey | None:
    kind = _KINDS.get(jwk.kty)
    if kind is None:
        return None
    try:
        key = kind.from_jwk({k: v for k, v in msgspec.structs.asdict(jwk).items() if v is not None})
    except (jwt.InvalidKeyError, ValueError, UnsupportedAlgorithm):
        return None
    assert isinstance(key, PublicKey)
    return key
