"""The keys that verify tokens, and which algorithm goes with which.

A key is found by what a token's header says, and only among those that go with its algorithm. So
the header chooses between keys, and never what a key is used for (RFC 8725, §2.1 and §3.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gateway.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.config import Settings

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey
"""The kinds that sign tokens (RFC 7518, §3.1; RFC 8037, §3.1)."""

Key = bytes | PublicKey
"""A secret, or a public key."""


class Keys(Protocol):
    """Where an authenticator finds its keys."""

    def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:
        """Return the keys that may have signed a token with this header, few or none."""

    async def renew(self) -> None:
        """Wait a moment for keys that are not known yet, where there may be some."""


class OneKey:
    """The key of the settings, whatever key a token names.

    Raises `SettingsError` where it cannot be used or does not fit the algorithms. Those that the
    settings name must all fit it; of the default ones those count that do.
    """

    def __init__(self, settings: Settings) -> None:
        settings.require_key()
        key: Key
        if settings.jwt_secret is not None:
            name, key = "GATEWAY_JWT_SECRET", settings.jwt_secret.get_secret_value().encode()
        else:
            assert settings.jwt_public_key_file is not None
            name, key = "GATEWAY_JWT_PUBLIC_KEY_FILE", _read_pem(settings.jwt_public_key_file)
        faults = {algorithm: fault(key, algorithm) for algorithm in settings.algorithms}
        self._algorithms = [algorithm for algorithm, found in faults.items() if found is None]
        if not self._algorithms or (
            settings.jwt_algorithms and len(self._algorithms) < len(faults)
        ):
            reasons = "; ".join(f"{which}: {found}" for which, found in faults.items() if found)
            raise SettingsError(
                f"{name}: the key does not go with GATEWAY_JWT_ALGORITHMS, change one of them"
                f" ({reasons})"
            )
        self._key: tuple[Key] = (key,)

    def find(self, kid: str | None, algorithm: str) -> Sequence[Key]:  # noqa: ARG002 - any token's
        """Return the key if it goes with the algorithm."""
        return self._key if algorithm in self._algorithms else ()

    async def renew(self) -> None:
        """Return at once: there will be no other key."""


def fault(key: Key, algorithm: str) -> str | None:
    """Return why a key must not be used with an algorithm; None: it may be."""
    method = jwt.get_algorithm_by_name(algorithm)
    try:
        return method.check_key_length(method.prepare_key(key))
    except jwt.InvalidKeyError as error:
        return str(error).rstrip(".")
    except TypeError:  # what PyJWT raises for a key of another kind
        return f"not with an {type(key).__name__}"


def _read_pem(path: Path) -> PublicKey:
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise SettingsError(
            f"GATEWAY_JWT_PUBLIC_KEY_FILE: {path} cannot be read: {error.strerror}"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise SettingsError(
            f"GATEWAY_JWT_PUBLIC_KEY_FILE: {path} holds no public key in PEM; make one from a"
            " private key with: openssl pkey -in private.pem -pubout"
        ) from None
    if not isinstance(key, PublicKey):
        raise SettingsError(
            f"GATEWAY_JWT_PUBLIC_KEY_FILE: {path} holds an {type(key).__name__}, which signs no"
            " tokens; use an RSA, EC or Ed25519 key"
        )
    return key
