"""Names of settings in messages, and the settings that hold secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import SettingsError
from gateway.files import read_file
from gateway.settings.setting_types import shown

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pydantic import BaseModel, SecretStr

PREFIX = "GATEWAY_"

MIN_SECRET_BYTES = 32
"""An HMAC key shorter than its hash can be guessed (RFC 7518, §3.2)."""

MAX_SECRET_BYTES = 16_384
"""A longer token does not fit into a request's headers; a longer key is hashed for each token."""

SECRETS = (
    "kafka_sasl_password",
    "kafka_sasl_oauthbearer_client_secret",
    "schema_registry_password",
    "schema_registry_token",
    "jwt_secret",
    "ops_token",
    "log_key",
)
"""Settings that may be read from a file; `<setting>_file` names the file."""


def env(field: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + field.upper()


def envs(fields: Iterable[str]) -> str:
    """Return the environment variables of settings, with commas."""
    return ", ".join(env(field) for field in fields)


def check_pair(settings: BaseModel, one: str, other: str) -> None:
    """Raise `ValueError` if only one of two settings is set."""
    if (getattr(settings, one) is None) != (getattr(settings, other) is None):
        raise ValueError(f"set both {env(one)} and {env(other)}, or neither")


def check_secret(settings: BaseModel, name: str) -> None:
    """Raise `ValueError` if the secret of a setting is invalid; it may be unset."""
    secret: SecretStr | None = getattr(settings, name)
    if secret is not None and (fault := secret_fault(name, secret.get_secret_value())):
        raise ValueError(fault)


def secret_fault(name: str, secret: str) -> str:
    """Return the fault of a secret's value with the remedy; "" if it is valid."""
    remedy = "make one with: openssl rand -base64 48"
    if (size := len(secret.encode())) > MAX_SECRET_BYTES:
        return f"{env(name)} has {size:,} bytes, at most {MAX_SECRET_BYTES:,} are accepted"
    if name in {"jwt_secret", "log_key"}:
        needed = f"it needs {MIN_SECRET_BYTES} or more"
        return f"{env(name)} has {size} bytes, {needed}; {remedy}" * (size < MIN_SECRET_BYTES)
    if not secret.strip():
        return (
            f"{env(name)} is empty: without one, any client would be accepted; {remedy}"
            if name == "ops_token"
            else f"{env(name)} is empty"
        )
    if name == "ops_token" and not secret.isprintable():
        return f"{env(name)} holds a character that no client can send in a header; {remedy}"
    return ""


def read_secret(name: str, path: Path) -> str:
    """Return the file content without a trailing line break. Raises `SettingsError`."""
    try:
        return read_file(path).decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        fault = error.strerror
    except UnicodeDecodeError:
        fault = "it is not UTF-8; write a secret in base64 or hex"
    except ValueError:
        fault = "the name holds a character that no file name can have"
    raise SettingsError(f"{env(name)}_FILE: {shown(str(path))[1:-1]} cannot be read: {fault}")
