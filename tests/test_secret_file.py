from __future__ import annotations

import asyncio
import os
from pathlib import Path

import jwt
import pytest

from gateway.config import load_settings
from gateway.errors import SettingsError
from gateway.http.auth.keys import OneKey
from gateway.kafka.client.login import current_password
from gateway.kafka.client.options import connection_options
from gateway.secret_file import ReloadingSecret
from tests.tokens import SECRET

OTHER = SECRET[::-1] + "!"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "secret"
    made.write_text(f"{SECRET}\n")
    return made


def test_changed_file_is_read_again_and_an_unchanged_one_is_not(file: Path) -> None:
    secret = ReloadingSecret(load_settings(None, jwt_secret_file=file), "jwt_secret")
    assert secret() == SECRET
    status = file.stat()
    file.write_text(f"{OTHER[:-1]}\n")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert secret() == SECRET, "same time, size and inode: not read"
    file.write_text(f"{OTHER}\n")
    assert secret() == OTHER


def test_change_between_the_start_and_the_first_use_is_seen(file: Path) -> None:
    settings = load_settings(None, jwt_secret_file=file)
    file.write_text(OTHER)
    assert ReloadingSecret(settings, "jwt_secret")() == OTHER


@pytest.mark.parametrize("content", [None, b"", b"short", b"\xff" * 40])
def test_missing_or_invalid_file_leaves_the_last_valid_secret(
    file: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = ReloadingSecret(load_settings(None, jwt_secret_file=file), "jwt_secret")
    file.write_text(OTHER)
    assert secret() == OTHER
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    assert [secret() for _ in range(3)] == [OTHER] * 3
    assert capsys.readouterr().out.count("secret not reloaded") == 1
    file.write_text(SECRET)
    assert secret() == SECRET


def test_secret_that_was_set_directly_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = ReloadingSecret(load_settings(None, jwt_secret=SECRET), "jwt_secret")
    assert secret() == SECRET


def test_tokens_are_verified_with_the_changed_key(file: Path) -> None:
    keys = OneKey(load_settings(None, jwt_secret_file=file))
    assert keys.find(None, "HS256") == (SECRET.encode(),)
    file.write_text(OTHER)
    token = jwt.encode({"sub": "a"}, OTHER, "HS256")
    [key] = keys.find(None, "HS256")
    assert isinstance(key, bytes)
    assert jwt.decode(token, key, ["HS256"]) == {"sub": "a"}


def test_key_that_is_too_short_for_the_algorithm_is_not_taken_over(file: Path) -> None:
    file.write_text("k" * 64)
    keys = OneKey(load_settings(None, jwt_secret_file=file, jwt_algorithms="HS512"))
    file.write_text("k" * 40)
    assert keys.find(None, "HS512") == (b"k" * 64,)


def test_invalid_file_at_the_start_is_an_error(file: Path) -> None:
    file.write_text("short")
    with pytest.raises(SettingsError, match="GATEWAY_JWT_SECRET has 5 bytes"):
        load_settings(None, jwt_secret_file=file)


async def test_each_login_uses_the_current_password(file: Path) -> None:
    options = connection_options(
        load_settings(
            None,
            kafka_security_protocol="SASL_PLAINTEXT",
            kafka_sasl_username="me",
            kafka_sasl_password_file=file,
        )
    )
    for password in (SECRET, OTHER):
        await asyncio.to_thread(file.write_text, password)
        assert current_password(options["sasl_plain_password"]) == password
