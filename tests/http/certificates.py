"""A self-signed certificate as files, created for each test."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

HOST = "gateway.test"


class Files:
    """A certificate for the host, and its key; `renew` writes another pair over them."""

    def __init__(self, folder: Path) -> None:
        self.certfile = folder / "tls.crt"
        self.keyfile = folder / "tls.key"
        self._writes = 0
        self.renew()

    def renew(self, *, certificate: bool = True, key: bool = True) -> None:
        private = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
        now = datetime.now(UTC)
        signed = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName(HOST), x509.DNSName("localhost")]),
                critical=False,
            )
            .sign(private, SHA256())
        )
        if certificate:
            self.write(self.certfile, signed.public_bytes(Encoding.PEM))
        if key:
            pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            self.write(self.keyfile, pem)

    def write(self, path: Path, content: bytes) -> None:
        """Write a file with a unique modification time."""
        self._writes += 1
        path.write_bytes(content)
        os.utime(path, ns=(0, self._writes))

    @property
    def client(self) -> ssl.SSLContext:
        """What a client needs that trusts the certificate as it stands in the file."""
        return ssl.create_default_context(cafile=self.certfile)
