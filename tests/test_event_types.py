from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import load_settings
from gateway.core.registry import Registry
from gateway.errors import SettingsError
from gateway.event_types import load_registry


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "types.toml"


def test_the_registry_is_built_in_or_of_a_file(file: Path) -> None:
    assert load_registry(load_settings()).types == Registry.built_in().types
    file.write_text('[categories]\nown = ["a.b"]')
    assert load_registry(load_settings(None, registry=file)).categories == ("own",)


@pytest.mark.parametrize("content", [b"\xff", b"[categories]", b"x = ", None])
def test_unusable_registry_is_reported_in_one_line(file: Path, content: bytes | None) -> None:
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError) as refused:
        load_registry(load_settings(None, registry=file))
    assert len(str(refused.value).splitlines()) == 1
