"""Files that settings name are regular, small, and read without waiting."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from gateway.config import Settings, load_settings
from gateway.errors import SettingsError
from gateway.event_types import load_registry
from gateway.files import client_tls, read_file
from gateway.http.auth.signing_keys import SigningKeys
from gateway.http.transport.tls import Certificate
from gateway.readiness import Readiness
from gateway.sources import load_sources
from tests.http import certificates


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 30)


def loop(path: Path) -> None:
    path.symlink_to(path)


UNUSABLE = {
    fifo: "not a regular file",
    device: "not a regular file",
    Path.mkdir: "Is a directory",
    sparse: "more than",
    loop: "symbolic links",
}


@pytest.mark.parametrize("make", UNUSABLE, ids=lambda make: make.__name__)
def test_a_file_that_cannot_be_read_at_once_is_refused(
    make: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    make(path)
    with pytest.raises(OSError, match=UNUSABLE[make]):
        read_file(path)
    certificate = tmp_path / "certificate"
    certificate.touch()
    monkeypatch.setenv("GATEWAY_JWT_SECRET_FILE", str(path))
    settings = Settings(registry=path, jwt_public_key_file=path, jwt_algorithms=("RS256",))
    for use in (
        load_settings,
        lambda: load_registry(settings),
        lambda: SigningKeys(settings, Readiness()),
        lambda: load_sources(path),
        lambda: client_tls("GATEWAY_KAFKA_SSL", path, None, None),
        lambda: client_tls("GATEWAY_KAFKA_SSL", None, certificate, path),
        lambda: Certificate(path, certificate),
    ):
        with pytest.raises(SettingsError, match=UNUSABLE[make]) as caught:
            use()
        assert "\n" not in str(caught.value)


def test_a_pipe_of_the_command_line_is_read() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"topic = 'orders'")
    os.close(writer)
    assert load_settings(Path(f"/dev/fd/{reader}")).topic == "orders"
    os.close(reader)


def test_a_key_with_a_passphrase_is_refused_without_a_prompt(tmp_path: Path) -> None:
    """OpenSSL would ask the terminal, and stop the event loop when a certificate is reloaded."""
    files = certificates.Files(tmp_path)
    Certificate(files.certfile, files.keyfile)
    key = load_pem_private_key(files.keyfile.read_bytes(), None)
    encrypted = BestAvailableEncryption(b"secret")
    files.keyfile.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, encrypted)
    )
    with pytest.raises(SettingsError, match="usable pair"):
        Certificate(files.certfile, files.keyfile)
    with pytest.raises(SettingsError, match="not a certificate and its key"):
        client_tls("GATEWAY_KAFKA_SSL", None, files.certfile, files.keyfile)
