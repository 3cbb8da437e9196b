"""Logins at Amazon MSK: the presigned request, with credentials of several sources.

`Sts` stands in for AWS's Security Token Service; it verifies requests as the specification of AWS
Signature Version 4 derives signatures. Kafka's own listener for them exists at Amazon only.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, urlsplit

import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gateway.config import load_settings
from gateway.kafka.client.login import token_provider
from gateway.kafka.client.shared_token import TokenUnavailable

REGION = "eu-central-1"
ROLE = "arn:aws:iam::000000000000:role/gateway"
OWN = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "session")
ASSUMED = Credentials("ASIAASSUMED", "assumed-secret", "assumed-session")


class Sts:
    """The token service on loopback: gives `ASSUMED` for `ROLE`, or the status 403."""

    def __init__(self) -> None:
        self.forms: list[dict[str, str]] = []
        self.faults: list[str] = []
        self.status = 200
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                form = dict(parse_qsl(body.decode()))
                outer.forms.append(form)
                if form["Action"] == "AssumeRole":
                    outer.faults += signature_faults(dict(self.headers.items()), body)
                status = 403 if outer.faults else outer.status
                data = answer(form["Action"]) if status == 200 else REFUSAL
                self.send_response(status)
                self.send_header("Content-Type", "text/xml")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def end(self) -> None:
        self._server.shutdown()
        self._server.server_close()


REFUSAL = b"""<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>
<Message>not authorized to perform sts:AssumeRole</Message></Error></ErrorResponse>"""


def answer(action: str) -> bytes:
    """Return the response of an action (STS API reference, version 2011-06-15)."""
    expires = datetime.now(UTC) + timedelta(hours=1)
    return f"""<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<{action}Result><Credentials>
<AccessKeyId>{ASSUMED.access_key}</AccessKeyId>
<SecretAccessKey>{ASSUMED.secret_key}</SecretAccessKey>
<SessionToken>{ASSUMED.token}</SessionToken>
<Expiration>{expires:%Y-%m-%dT%H:%M:%SZ}</Expiration>
</Credentials></{action}Result></{action}Response>""".encode()


def signature_faults(headers: dict[str, str], body: bytes) -> list[str]:
    """Return what is wrong with the signature of a request to STS by `OWN`, part by part."""
    lower = {name.lower(): value for name, value in headers.items()}
    found = re.fullmatch(
        r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<scope>\S+),"
        r" SignedHeaders=(?P<names>\S+), Signature=(?P<signature>[0-9a-f]{64})",
        lower.get("authorization", ""),
    )
    if found is None:
        return ["form of Authorization"]
    names = found["names"].split(";")
    moment = lower["x-amz-date"]
    request = "\n".join(
        [
            "POST\n/\n",
            *(f"{name}:{' '.join(lower[name].split())}" for name in names),
            f"\n{found['names']}",
            hashlib.sha256(body).hexdigest(),
        ]
    )
    written = datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    holds = {
        "access key": found["key"] == OWN.access_key,
        "scope": found["scope"] == f"{moment[:8]}/{REGION}/sts/aws4_request",
        "date": abs(written.timestamp() - time.time()) < 60,
        "signed headers": {"host", "x-amz-date", "x-amz-security-token"} <= set(names),
        "session": lower.get("x-amz-security-token") == OWN.token,
        "signature": hmac.compare_digest(
            found["signature"], _signature(request, moment, found["scope"], OWN.secret_key)
        ),
    }
    return [part for part, right in holds.items() if not right]


@pytest.fixture
def sts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Sts]:
    """The token service, for a process without credentials of its own."""
    made = Sts()
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", made.url)
    yield made
    made.end()


def use_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", OWN.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", OWN.secret_key)
    monkeypatch.setenv("AWS_SESSION_TOKEN", OWN.token)


async def token(**settings: object) -> str:
    """Return the token that a worker with these settings logs in with."""
    provider = token_provider(
        load_settings(
            None,
            kafka_security_protocol="SASL_SSL",
            kafka_sasl_mechanism="AWS_MSK_IAM",
            kafka_aws_region=REGION,
            **settings,
        )
    )
    assert provider is not None
    return await provider.token()


def check_presigned(text: str, credentials: Credentials) -> None:
    """Assert that a token is the request `kafka-cluster:Connect`, signed with the credentials."""
    url = urlsplit(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode())
    assert (url.scheme, url.netloc) == ("https", f"kafka.{REGION}.amazonaws.com")
    query = dict(parse_qsl(url.query))
    assert query["Action"] == "kafka-cluster:Connect"
    assert query["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"
    assert query["X-Amz-SignedHeaders"] == "host"
    assert query["X-Amz-Expires"] == "900"
    moment = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert abs(moment.timestamp() - time.time()) < 60
    scope = f"{moment:%Y%m%d}/{REGION}/kafka-cluster/aws4_request"
    assert query["X-Amz-Credential"] == f"{credentials.access_key}/{scope}"
    assert query["X-Amz-Security-Token"] == credentials.token
    assert query["X-Amz-Signature"] == _botocore_signature(url, query, credentials)
    names = sorted(name for name in query if name not in {"X-Amz-Signature", "User-Agent"})
    pairs = "&".join(f"{name}={quote(query[name], safe='')}" for name in names)
    headers = f"host:{url.netloc}\n\nhost"
    request = f"GET\n/\n{pairs}\n{headers}\n{hashlib.sha256(b'').hexdigest()}"
    expected = _signature(request, query["X-Amz-Date"], scope, credentials.secret_key)
    assert query["X-Amz-Signature"] == expected


def _botocore_signature(url: SplitResult, query: dict[str, str], credentials: Credentials) -> str:
    """Return the signature that botocore's signer makes for the same request at the same time."""
    signer = SigV4QueryAuth(credentials, "kafka-cluster", REGION, expires=900)
    unsigned, _, _ = url.query.partition("&X-Amz-Signature=")
    request = AWSRequest("GET", f"https://{url.netloc}/?{unsigned}")
    request.context["timestamp"] = query["X-Amz-Date"]
    text = signer.string_to_sign(request, signer.canonical_request(request))
    return str(signer.signature(text, request))


def _signature(request: str, moment: str, scope: str, secret: str) -> str:
    """Return the signature of a canonical request."""
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{digest}"
    key = f"AWS4{secret}".encode()
    for part in [*scope.split("/"), text]:
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()


async def test_token_is_a_presigned_request(sts: Sts, monkeypatch: pytest.MonkeyPatch) -> None:
    use_own(monkeypatch)
    check_presigned(await token(), OWN)
    assert sts.forms == []


async def test_role_is_assumed_with_a_signed_request(
    sts: Sts, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_own(monkeypatch)
    check_presigned(await token(kafka_aws_role_arn=ROLE), ASSUMED)
    assert sts.faults == []
    [form] = sts.forms
    assert form["Action"] == "AssumeRole"
    assert form["RoleArn"] == ROLE
    assert form["RoleSessionName"] == "kafka-sse-gateway"


async def test_role_of_a_pod_is_assumed_with_its_token(
    sts: Sts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("projected-token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(file))
    monkeypatch.setenv("AWS_ROLE_ARN", ROLE)
    check_presigned(await token(), ASSUMED)
    [form] = sts.forms
    assert form["Action"] == "AssumeRoleWithWebIdentity"
    assert form["RoleArn"] == ROLE
    assert form["WebIdentityToken"] == "projected-token"


async def test_refused_role_is_named_with_the_settings(
    sts: Sts, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_own(monkeypatch)
    sts.status = 403
    with pytest.raises(TokenUnavailable, match=r"AccessDenied.*GATEWAY_KAFKA_AWS_ROLE_ARN"):
        await token(kafka_aws_role_arn=ROLE)


@pytest.mark.parametrize("settings", [{}, {"kafka_aws_role_arn": ROLE}])
async def test_missing_credentials_are_named(sts: Sts, settings: dict[str, Any]) -> None:
    with pytest.raises(TokenUnavailable, match="AWS gives no credentials: Unable to locate"):
        await token(**settings)


def test_signature_of_a_changed_request_is_a_fault() -> None:
    """The stand-in for STS rejects what AWS would reject."""
    moment = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    scope = f"{moment[:8]}/{REGION}/sts/aws4_request"
    names = "host;x-amz-date;x-amz-security-token"
    signed = {"host": "sts", "x-amz-date": moment, "x-amz-security-token": OWN.token}
    lines = "\n".join(f"{name}:{value}" for name, value in signed.items())
    digest = hashlib.sha256(b"Action=AssumeRole").hexdigest()
    request = f"POST\n/\n\n{lines}\n\n{names}\n{digest}"
    signature = _signature(request, moment, scope, OWN.secret_key)
    line = f"AWS4-HMAC-SHA256 Credential={OWN.access_key}/{scope}, SignedHeaders={names}"
    headers = {**signed, "authorization": f"{line}, Signature={signature}"}
    assert signature_faults(headers, b"Action=AssumeRole") == []
    assert signature_faults(headers, b"Action=Other") == ["signature"]
    other = headers | {"authorization": headers["authorization"].replace(REGION, "us-east-1")}
    assert signature_faults(other, b"Action=AssumeRole") == ["scope", "signature"]
