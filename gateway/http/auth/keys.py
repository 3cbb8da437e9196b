"""The keys that verify tokens, and which algorithm goes with which.

A token's header selects a key by `kid`, among the keys that fit its algorithm. The header never
decides how a key is used (RFC 8725, §2.1 and §3.1).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gateway.errors import SettingsError
from gateway.files import read_file
from gateway.issuers import ASYMMETRIC
from gateway.secret_file import ReloadingSecret
from gateway.settings.token_settings import SYMMETRIC

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.config import Settings

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey
"""The kinds that sign tokens (RFC 7518, §3.1; RFC 8037, §3.1)."""

Key = bytes | PublicKey
"""A secret, or a public key."""


MAX_TRIED = 4
"""Keys that are tried for one token: a token without a `kid` can mean any that goes with its
algorithm, and each costs a signature. A rotation needs two."""

MAX_RSA_BITS = 8192
MAX_EXPONENT_BITS = 32
"""Of an RSA key. The event loop verifies signatures: within these bounds one takes 1 ms or less,
beyond them up to 25 ms. Issuers use 2,048 to 4,096 bits, and the exponent 65,537 of 17 bits."""

_PEM_BLOCK = re.compile(rb"-----BEGIN [^-]+-----.*?-----END [^-]+-----[ \t\r]*\n?", re.DOTALL)


class Keys(Protocol):
    """Where an authenticator finds its keys."""

    def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """Return the keys that may have signed a token with this header, few or none."""

    async def renew(self) -> None:
        """Wait a moment for keys that are not known yet, where there may be some."""


class OneKey:
    """The keys of the settings, whatever key a token names: a secret, or those of a PEM file.

    Raises `SettingsError` for a key that cannot be used or fits no accepted algorithm, and for an
    algorithm of `GATEWAY_JWT_ALGORITHMS` that no key fits. Default algorithms count where they fit.
    """

    def __init__(self, settings: Settings) -> None:
        settings.require_key()
        self._settings = settings
        self._secret: ReloadingSecret | None = None
        self._text = ""
        if settings.jwt_secret is not None:
            self._text = settings.jwt_secret.get_secret_value()
            self._keys = self._for_secret(self._text)
            self._secret = ReloadingSecret(settings, "jwt_secret", self._for_secret)
        else:
            assert settings.jwt_public_key_file is not None
            path = settings.jwt_public_key_file
            self._keys = self._by_algorithm(f"GATEWAY_JWT_PUBLIC_KEY_FILE: {path}", _read_pem(path))

    def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:  # noqa: ARG002 - any token's
        """Return the keys that go with the algorithm."""
        if self._secret is not None and (text := self._secret()) != self._text:
            self._text, self._keys = text, self._for_secret(text)
        return self._keys.get(algorithm, ())

    def _for_secret(self, text: str) -> dict[str, tuple[Key, ...]]:
        return self._by_algorithm("GATEWAY_JWT_SECRET", [text.encode()])

    def _by_algorithm(self, name: str, keys: Sequence[Key]) -> dict[str, tuple[Key, ...]]:
        """Return the keys for each accepted algorithm; `name` is the setting, for errors."""
        settings = self._settings
        if len(keys) > MAX_TRIED:
            raise SettingsError(
                f"{name} holds {len(keys)} keys, {MAX_TRIED} at most are tried for a token; remove"
                " old ones, or publish them at a GATEWAY_JWT_JWKS_URL"
            )
        found = {
            algorithm: tuple(key for key in keys if fault(key, algorithm) is None)
            for algorithm in settings.algorithms
        }
        for number, key in enumerate(keys, 1):
            if all(fault(key, algorithm) for algorithm in settings.algorithms):
                which = f"key {number}" if len(keys) > 1 else "the key"
                raise SettingsError(f"{name}: {_misfit(which, key, settings.algorithms)}")
        for algorithm in settings.jwt_algorithms:
            if not found[algorithm]:
                raise SettingsError(f"{name}: {_misfit('the key', keys[0], [algorithm])}")
        return found

    async def renew(self) -> None:
        """Return at once: a changed secret is read by `find`."""


def fault(key: Key, algorithm: str) -> str | None:
    """Return why a key must not be used with an algorithm; None: it may be."""
    method = jwt.get_algorithm_by_name(algorithm)
    if not isinstance(key, bytes) and not isinstance(key, _kinds(algorithm)):
        return f"not with {_described(key)}"
    if isinstance(key, RSAPublicKey) and (
        key.key_size > MAX_RSA_BITS or key.public_numbers().e.bit_length() > MAX_EXPONENT_BITS
    ):
        return f"not with more than {MAX_RSA_BITS} bits, or {MAX_EXPONENT_BITS} of the exponent"
    try:
        return method.check_key_length(method.prepare_key(key))
    except jwt.InvalidKeyError as error:
        return str(error).rstrip(".")
    except TypeError:  # what PyJWT raises for a key of another kind
        return f"not with {_described(key)}"


def _kinds(algorithm: str) -> tuple[type[PublicKey], ...]:
    if algorithm.startswith("ES"):
        return (EllipticCurvePublicKey,)
    return (Ed25519PublicKey, Ed448PublicKey) if algorithm == "EdDSA" else (RSAPublicKey,)


def _described(key: Key) -> str:
    """Return a key's kind as an error names it, such as `an EC key on secp384r1`."""
    if isinstance(key, bytes):
        return "a secret"
    if isinstance(key, EllipticCurvePublicKey):
        return f"an EC key on {key.curve.name}"
    return f"an {type(key).__name__.removesuffix('PublicKey')} key"


def _misfit(which: str, key: Key, algorithms: Sequence[str]) -> str:
    """Return why a key does not fit the algorithms, and the remedy."""
    reasons = "; ".join(f"{name}: {found}" for name in algorithms if (found := fault(key, name)))
    known = sorted(SYMMETRIC if isinstance(key, bytes) else ASYMMETRIC)
    fitting = [name for name in known if fault(key, name) is None]
    remedy = f"algorithms that it does go with: {', '.join(fitting)}" if fitting else "replace it"
    return (
        f"{which} does not go with GATEWAY_JWT_ALGORITHMS, change one of them ({reasons}); {remedy}"
    )


def _read_pem(path: Path) -> list[PublicKey]:
    """Return the public keys of a PEM file. Raises `SettingsError` where one is not usable."""
    setting = "GATEWAY_JWT_PUBLIC_KEY_FILE"
    try:
        content = read_file(path)
    except OSError as error:
        raise SettingsError(f"{setting}: {path} cannot be read: {error.strerror}") from None
    if b"PRIVATE KEY-----" in content:
        raise SettingsError(
            f"{setting}: {path} holds a private key, which belongs to the issuer alone; make the"
            " public one with: openssl pkey -in private.pem -pubout"
        )
    keys = []
    for block in _PEM_BLOCK.findall(content) or [content]:
        try:
            key = load_pem_public_key(block)
        except (ValueError, UnsupportedAlgorithm):
            raise SettingsError(
                f"{setting}: {path} holds no public key in PEM; make one from a private key with:"
                " openssl pkey -in private.pem -pubout"
            ) from None
        if not isinstance(key, PublicKey):
            raise SettingsError(
                f"{setting}: {path} holds an {type(key).__name__}, which signs no tokens; use an"
                " RSA, EC or Ed25519 key"
            )
        keys.append(key)
    return keys
