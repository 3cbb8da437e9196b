from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from gateway.config import Settings, load_settings
from gateway.errors import SettingsError
from gateway.http.auth.claims import Identity
from gateway.http.auth.keys import OneKey
from gateway.http.auth.tokens import Authenticator
from gateway.revocation.table import Revocations
from gateway.tokens import mint
from tests.commands.command import gateway
from tests.tokens import SECRET


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"jwt_issuer": "us", "jwt_audience": "them"},
        {"jwt_user_claim": "uid", "jwt_session_claim": "session"},
        {"jwt_secret": SECRET * 2, "jwt_algorithms": "HS512"},
    ],
)
def test_a_worker_with_the_same_settings_takes_the_token(settings: dict[str, Any]) -> None:
    same = load_settings(**{"jwt_secret": SECRET, **settings})
    identity = Authenticator(same, OneKey(same), Revocations()).verify(
        mint(same, "alice", "s1", 60, 1000.0), 1059.0
    )
    assert identity == Identity("alice", "s1", 1060.0, 1000.0)


def test_a_public_key_makes_no_token() -> None:
    with pytest.raises(SettingsError, match="GATEWAY_JWT_SECRET"):
        mint(Settings(), "alice", None, 60, time.time())


async def test_the_token_is_all_that_is_printed() -> None:
    finished = await gateway("token", "alice", "--ttl", "60", settings={"jwt_secret": SECRET})
    assert (finished.code, finished.err) == (0, "")
    claims = jwt.decode(finished.out.strip(), SECRET, ["HS256"])
    assert claims["sub"] == "alice"
    assert claims["exp"] - claims["iat"] == 60
    assert "sid" not in claims


async def test_settings_come_from_a_file_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    config = tmp_path_factory.mktemp("config") / "gateway.toml"
    config.write_text(f'jwt_secret = "{SECRET}"\njwt_issuer = "us"\n')
    finished = await gateway("token", "alice", "--session", "s1", "--config", str(config))
    claims = jwt.decode(finished.out.strip(), SECRET, ["HS256"])
    assert (claims["iss"], claims["sid"]) == ("us", "s1")


def test_groups_are_in_the_claim_that_each_source_names(tmp_path: Path) -> None:
    file = tmp_path / "sources.toml"
    file.write_text('[[source]]\ntopic = "a"\naudience = "group"\ngroups = "org.teams"\n')
    same = load_settings(None, jwt_secret=SECRET, sources=file)
    token = mint(same, "alice", None, 60, 1000.0, ["red", "blue"])
    identity = Authenticator(same, OneKey(same), Revocations()).verify(token, 1030.0)
    assert {topic: set(keys) for topic, keys in identity.groups.items()} == {"a": {b"red", b"blue"}}
