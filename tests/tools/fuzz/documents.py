"""Registry and settings files: a mistake is reported in one line."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path
from unittest.mock import patch

from gateway.config import Settings, load_settings
from gateway.core.event import type_fault
from gateway.core.registry import BUILT_IN, Registry
from gateway.errors import SettingsError
from gateway.settings.secret_settings import PREFIX
from tests.tools.fuzz.target import SEPARATOR, Target, joined, parts

SECRET = "topsecret-topsecret-topsecret-topsecret"
SECRETS = {"GATEWAY_JWT_SECRET", "GATEWAY_OPS_TOKEN", "GATEWAY_KAFKA_SASL_PASSWORD"}
"""Other values may appear in a message."""


def _registry(data: bytes) -> None:
    try:
        registry = Registry.from_toml(data.decode("utf-8", "replace"))
    except SettingsError as error:
        assert "\n" not in str(error), "one line"
        assert len(str(error)) < 1000 + 8 * len(data)
        return
    assert registry.categories
    assert set(registry.types.values()) == set(registry.categories), "each category has a type"
    for event_type in registry.types:
        assert type_fault(event_type) is None, "an impossible type"
    for category in registry.categories:
        assert not set(category) & set(" ,\r\n"), "a filter cannot name it"


def _settings(data: bytes) -> None:
    """Take a file, and variables as NAME=value."""
    document, rest = parts(data, 2)
    environment = {}
    for line in rest.split(SEPARATOR):
        name, _, value = line.partition(b"=")
        if name and b"\0" not in line:
            environment[PREFIX + os.fsdecode(name)] = os.fsdecode(value)
    others = {name: value for name, value in environment.items() if name not in SECRETS}
    is_elsewhere = SECRET in str(others) or SECRET.encode() in document
    path = _folder() / "settings.toml"
    path.write_bytes(document)
    with patch.dict(os.environ, environment, clear=True):
        try:
            settings = load_settings(path)
        except SettingsError as error:
            lines = str(error).split("\n")
            assert len(lines) <= len(data) + 1
            assert all(line.strip() for line in lines), "an empty line"
            assert is_elsewhere or SECRET not in str(error), "a secret in a message"
            return
    assert is_elsewhere or SECRET not in repr(settings), "a secret where settings are shown"
    _check_settings(settings)


def _check_settings(settings: Settings) -> None:
    assert settings.listen.host
    assert 0 <= settings.listen.port < 65536
    assert settings.ops_listen.is_loopback or settings.ops_token is not None
    assert settings.algorithms
    kinds = (settings.jwt_secret, settings.jwt_public_key_file, settings.jwt_jwks_url)
    assert sum(kind is not None for kind in kinds) <= 1
    assert settings.heartbeat_seconds > 0
    assert "*" not in settings.cors_origins
    settings.jwt_secret and settings.jwt_secret.get_secret_value().encode()


@cache
def _folder() -> Path:
    """Return a path for the file; it is removed with the process."""
    folder = tempfile.TemporaryDirectory(prefix="fuzz-settings-")
    _KEPT.append(folder)
    return Path(folder.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []
_TOML = [b"[", b"]", b"[[", b'"""', b"'", b'"', b"=", b".", b"\n", b"#", b"\\u0000", b"\\U0010ffff"]
_TOML += [b"{", b"}", b"1979-05-27T07:32:00Z", b"inf", b"nan", b"0x", b"9" * 5000, b"[" * 2000]
_TOML += [b"a." * 2000, b"{a=" * 1000]

REGISTRY = Target(
    "registry",
    _registry,
    [BUILT_IN.encode(), b'[categories]\na = ["x", "y"]\nb = ["z"]', b'categories = {a = ["x"]}'],
    [*_TOML, b"[categories]", b'"stream.gap"', b"categories"],
)
SETTINGS = Target(
    "settings",
    _settings,
    [
        joined(b'listen = "127.0.0.1:0"\ncors_origins = ["https://a.example"]\nretry_ms = 10'),
        joined(b"", b"JWT_SECRET=" + SECRET.encode(), b"JWT_ALGORITHMS=HS256,HS512"),
        joined(b'jwt_secret = "%b"' % (b"s" * 40), b"OPS_LISTEN=[::]:81", b"OPS_TOKEN=x"),
        joined(b'jwt_jwks_url = "https://id.example/keys"', b"TRUSTED_PROXIES=10.0.0.0/8,::1"),
        joined(b"", b"JWT_JWKS_URL=http://[::1]:80/x", b"HEARTBEAT_SECONDS=1e3", b"LISTN=a:1"),
        joined(b"", b"KAFKA_BOOTSTRAP=a:1,[::1]:2", b"KAFKA_SECURITY_PROTOCOL=SASL_SSL"),
        joined(b"", b"KAFKA_SASL_PASSWORD=" + SECRET.encode(), b"OPS_TOKEN=" + SECRET.encode()),
    ],
    [
        *_TOML,
        SEPARATOR,
        *(name.encode() for name in Settings.model_fields),
        *(name.upper().encode() + b"=" for name in Settings.model_fields),
        *(b"https://", b"http://", b"[::1]", b":0", b"-1", b"1e999", b"\xff", b"true", b"*"),
    ],
)
