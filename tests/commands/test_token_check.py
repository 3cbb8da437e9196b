from __future__ import annotations

import io
import time
from pathlib import Path

import jwt
import pytest
from typer.testing import CliRunner

from gateway.cli import build
from gateway.commands.token_check import judge, read_token
from gateway.config import Settings, load_settings
from gateway.errors import SettingsError
from tests.issuer import SigningKey, published
from tests.tokens import SECRET, mint

KEY = SigningKey("ES256", "k1")


def settings(**values: object) -> Settings:
    return load_settings(None, **{"jwt_secret": SECRET, **values})


@pytest.mark.parametrize(
    ("token", "values", "said"),
    [
        (
            mint("alice", iss="x", lifetime=9e5),
            {"jwt_issuer": "https://id.test"},
            "issuer: iss is 'x'; wanted",
        ),
        (
            mint("alice", lifetime=9e5),
            {"jwt_audience": "gateway"},
            "audience: aud is None; wanted: 'gateway'",
        ),
        (mint("alice", lifetime=-30), {}, "expired: exp was "),
        (mint("alice", lifetime=9e5, nbf=time.time() + 8e5), {}, "not_yet_valid: nbf is"),
        (mint("alice", sub=None, lifetime=9e5), {}, "claim_missing: there is no sub, the user id"),
        (
            mint("alice", sub="", lifetime=9e5),
            {},
            "claim_type: sub is not a printable text or an integer",
        ),
        (mint("alice", exp=None), {}, "claim_missing: exp is missing"),
        (mint("alice", exp=(time.time() + 60) * 1000), {}, "claim_type: exp is not a Unix time"),
        (
            mint("alice", secret="x" * 40, lifetime=9e5),
            {},
            "signature: no key of kid None has signed it",
        ),
        (jwt.encode({"sub": "a"}, "x" * 80, "HS384"), {}, "algorithm: alg is 'HS384'; accepted"),
        (
            jwt.encode({"sub": "a"}, SECRET, "HS256", {"typ": "logout+jwt"}),
            {},
            "type: typ is 'logout+jwt'",
        ),
        ("opaque", {}, "malformed: it is not three segments of JSON"),
    ],
)
async def test_invalid_token_is_reported_in_one_line(
    token: str, values: dict[str, object], said: str
) -> None:
    accepted, line = await judge(settings(**values), token)
    assert not accepted
    assert line.startswith(said), line
    assert "\n" not in line


async def test_accepted_token_is_described_in_one_line() -> None:
    token = mint("alice", sid="s1", scope="events:ai events:import")
    verdict = await judge(settings(jwt_scope_claim="scope"), token)
    assert verdict.accepted
    assert verdict.line.startswith("user 'alice', expires in ")
    assert verdict.line.endswith("session 's1', may read ai, import")


async def test_keys_are_fetched_where_they_are_published() -> None:
    async with published(KEY) as provider:
        url = provider.url
        made = load_settings(None, jwt_jwks_url=url)
        assert (await judge(made, KEY.mint("alice"))).accepted
        other = SigningKey("ES256", "k2").mint("alice")
        _, line = await judge(made, other)
        assert line == "unknown_key: no key with kid 'k2' for ES256"
    verdict = await judge(made, KEY.mint("alice"))
    assert not verdict.accepted
    assert verdict.line.startswith("GATEWAY_JWT_JWKS_URL: ")


def test_a_token_is_read_from_a_file_or_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"Bearer a.b.c\n")
    assert read_token(file) == "a.b.c"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b" a.b.c\xff \n")))
    assert read_token(Path("-")) == "a.b.c\ufffd"
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        read_token(tmp_path / "nothing")


def test_the_command_takes_a_user_or_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_JWT_SECRET", SECRET)
    file = tmp_path / "token"
    file.write_text(mint("alice"))
    run, app = CliRunner().invoke, build()
    assert run(app, ["token", "--explain", str(file)]).output.startswith("accepted: user 'alice'")
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    file.write_text(mint("alice", lifetime=-5))
    refused = run(app, ["token", "--explain", str(file)])
    assert (refused.exit_code, refused.output) == (1, "not accepted: expired: exp was 5 s ago\n")
    assert run(app, ["token"]).exit_code == 2
    assert run(app, ["token", "alice", "--explain", str(file)]).exit_code == 2


@pytest.mark.parametrize(
    ("lifetime", "status", "line"),
    [(60, "ok", "user 'alice', expires in "), (-30, "failed", "expired: exp was ")],
)
def test_check_reports_a_token_file_as_one_row(
    lifetime: float, status: str, line: str, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(mint("alice", lifetime=lifetime) + "\n", encoding="utf-8")
    ended = CliRunner().invoke(
        build(),
        ["check", "--token-file", str(file)],
        env={"GATEWAY_JWT_SECRET": SECRET, "GATEWAY_KAFKA_BOOTSTRAP": "127.0.0.1:1"},
        terminal_width=200,
    )
    assert ended.exit_code == 1, "Kafka does not answer"
    [row] = [row for row in ended.output.splitlines() if row.startswith("token ")]
    assert row.split(maxsplit=2)[1] == status
    assert line in row
