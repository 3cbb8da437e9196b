"""An environment without settings."""

from __future__ import annotations

import os

import pytest

from gateway.settings.secret_settings import PREFIX


def remove_settings(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Remove the settings of the environment that the tests run in; more can be set."""
    for name in os.environ:
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)
    return monkeypatch
