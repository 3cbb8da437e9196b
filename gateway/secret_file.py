"""Secrets that are read again when their file changes (`GATEWAY_…_FILE`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from gateway.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config import Settings

_log = structlog.stdlib.get_logger(__name__)


class ReloadingSecret:
    """The current value of the secret setting `name`, which must be set.

    Calling the object returns the value and costs one `stat` where the secret comes from a file. A
    file that is missing or has an invalid value leaves the last valid value in force; that is
    logged once for each change of the file. `check` raises `SettingsError` for an invalid value.
    """

    def __init__(
        self, settings: Settings, name: str, check: Callable[[str], object] | None = None
    ) -> None:
        secret = getattr(settings, name)
        self._settings = settings
        self._name = name
        self._check = check
        self._path = getattr(settings, f"{name}_file")
        self._value = "" if secret is None else str(secret.get_secret_value())
        # None: compare with the first call, since the file may have changed after the start.
        self._version: tuple[int, int, int] | None = None

    def __call__(self) -> str:
        """Return the secret."""
        if self._path is None or (version := self._file_version()) == self._version:
            return self._value
        self._version = version
        try:
            value = self._settings.read_secret(self._name)
            if value != self._value:
                if self._check is not None:
                    self._check(value)
                self._value = value
                _log.info("secret reloaded", file=str(self._path))
        except SettingsError as error:
            _log.warning("secret not reloaded: the former value stays in force", error=str(error))
        return self._value

    def _file_version(self) -> tuple[int, int, int]:
        try:
            status = self._path.stat()
        except OSError:
            return 0, 0, 0
        return status.st_mtime_ns, status.st_ino, status.st_size
