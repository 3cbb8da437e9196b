"""Files that settings name, which are read at the start and when they change.

The event loop reads a changed secret or certificate itself, so a read must not wait: a FIFO without
a writer, a device or an endless file would stop every stream, and a key with a passphrase would
wait for the terminal.
"""

from __future__ import annotations

import errno
import os
import ssl
import stat
from typing import TYPE_CHECKING

from gateway.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 1 << 20
"""The bundle of all public authorities has 250 KB."""


def read_file(path: Path, *, may_wait: bool = False) -> bytes:
    """Return the content of a regular file of at most 1 MiB.

    `may_wait` also accepts a pipe, for files of the command line such as `--config <(…)`. Raises
    `OSError` with the fault in `strerror`, and `ValueError` if no file can have that name.
    """
    with open(path, "rb", opener=None if may_wait else _open_at_once) as file:
        if not may_wait and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {MAX_BYTES:,} bytes")
    return content


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def load_pair(context: ssl.SSLContext, certfile: Path, keyfile: Path) -> None:
    """Load a certificate and its key, without a passphrase. Raises `OSError`."""
    for path in (certfile, keyfile):
        read_file(path)
    context.load_cert_chain(certfile, keyfile, password="")


def client_tls(
    prefix: str, cafile: Path | None, certfile: Path | None, keyfile: Path | None
) -> ssl.SSLContext:
    """Return the TLS context of a client. Raises `SettingsError` that begins with `prefix`."""
    try:
        if cafile is not None:
            read_file(cafile)
        context = ssl.create_default_context(cafile=cafile)
    except OSError as error:
        raise SettingsError(
            f"{prefix}_CAFILE: {cafile} holds no usable certificates: {fault(error)}"
        ) from None
    if certfile is not None and keyfile is not None:
        try:
            load_pair(context, certfile, keyfile)
        except OSError as error:
            raise SettingsError(
                f"{prefix}_CERTFILE and {prefix}_KEYFILE: {certfile} and {keyfile} are not a"
                f" certificate and its key: {fault(error)}"
            ) from None
    return context


def fault(error: OSError) -> str:
    """Return why a file cannot be used, on one line."""
    if isinstance(error, ssl.SSLError):
        return str(error)
    return error.strerror or str(error)
