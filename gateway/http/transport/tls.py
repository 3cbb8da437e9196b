"""TLS on the public listener, for an encrypted hop from the load balancer.

A certificate is renewed while the worker runs: when one of its files has changed, both are loaded
again into the same context, and connections from then on get the new one.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import structlog

from gateway.errors import SettingsError
from gateway.files import fault, load_pair

if TYPE_CHECKING:
    from pathlib import Path

_log = structlog.stdlib.get_logger(__name__)


class Certificate:
    """A certificate and its key, as files. Raises `SettingsError` where they cannot be used."""

    def __init__(self, certfile: Path, keyfile: Path) -> None:
        self._files = (certfile, keyfile)
        self._changed = self._changes()
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            load_pair(self.context, *self._files)
        except OSError as error:  # an SSLError is one
            raise SettingsError(
                f"GATEWAY_TLS_CERTFILE and GATEWAY_TLS_KEYFILE: {certfile} and {keyfile} are no"
                f" usable pair: {fault(error)}"
            ) from None

    def refresh(self) -> bool:
        """Reload changed files, and return whether a new certificate is in use; cheap to call.

        Invalid files, such as half of a pair, leave the certificate in use. They are logged once
        and read again when they change again.
        """
        changed = self._changes()
        if changed == self._changed:
            return False
        self._changed = changed
        try:
            # Into another context first: a pair that does not fit would spoil the one in use.
            load_pair(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), *self._files)
            load_pair(self.context, *self._files)
        except OSError as error:
            _log.warning("certificate not reloaded: the new files are invalid", error=fault(error))
            return False
        _log.info("certificate reloaded", file=str(self._files[0]))
        return True

    def _changes(self) -> list[int | None]:
        return [_changed_at(path) for path in self._files]


def _changed_at(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
