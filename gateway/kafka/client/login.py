"""Tokens for SASL/OAUTHBEARER logins, and the options of the other mechanisms.

Sources of tokens:

    token endpoint, client credentials   RFC 6749, §4.4, as Kafka's Java client sends them
    token endpoint, assertion file       RFC 7523, §2.1 (KIP-1139)
    token file                           a token renewed by another program, such as the kubelet
    AWS_MSK_IAM                          a presigned request, made by the extra `aws`
"""

from __future__ import annotations

import base64
import binascii
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import msgspec
from aiokafka.conn import OAuthAuthenticator
from aiokafka.errors import SaslAuthenticationFailed

from gateway.errors import SettingsError
from gateway.files import read_file
from gateway.kafka.client.shared_token import Token, TokenProvider, TokenUnavailable
from gateway.outgoing import AnswerTooLarge, Exchange, InvalidAnswer, NoAnswer, answer_now
from gateway.secret_file import ReloadingSecret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.config import Settings

ANSWER_SECONDS = 10.0
"""Timeout of a token endpoint, for all of its answer."""

MAX_ANSWER = 1 << 20
"""Maximum size of a token endpoint's response, in bytes."""

UNKNOWN_LIFE = 60.0
"""Assumed lifetime in seconds of a token without an expiry time."""

_PREFIX = "GATEWAY_KAFKA_SASL_OAUTHBEARER_"


class BearerAuthenticator(OAuthAuthenticator):  # type: ignore[misc]
    """Client side of OAUTHBEARER (RFC 7628): sends a token, reads the rejection."""

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        """Return the next message, None at the end. Raises `SaslAuthenticationFailed`."""
        if payload:  # the broker's error, as JSON; the payload is empty on success
            raise SaslAuthenticationFailed(f"token refused{_oauth_status(payload)}")
        step: tuple[bytes, bool] | None = await super().step(payload)
        return step


def current_password(source: str | Callable[[], str] | None) -> str | None:
    """Return the password for the next login: `source`, or its result if callable."""
    return source() if callable(source) else source


def token_provider(settings: Settings) -> TokenProvider | None:
    """Return the token provider for the configured login; None: login without tokens.

    Raises `SettingsError` if a required extra is not installed.
    """
    if settings.kafka_sasl_mechanism == "AWS_MSK_IAM":
        return TokenProvider(_aws_source(settings))
    if settings.kafka_sasl_mechanism != "OAUTHBEARER":
        return None
    extensions = dict(
        extension.split("=", 1) for extension in settings.kafka_sasl_oauthbearer_extensions
    )
    if settings.kafka_sasl_oauthbearer_token_file is not None:
        path = settings.kafka_sasl_oauthbearer_token_file
        return TokenProvider(lambda: _from_file(path), extensions)
    client_secret = ReloadingSecret(settings, "kafka_sasl_oauthbearer_client_secret")
    return TokenProvider(lambda: _from_endpoint(settings, client_secret), extensions)


def _from_file(path: Path) -> Token:
    value = _read(path, "TOKEN_FILE")
    life = _life(value)
    if life <= 0:
        raise TokenUnavailable(
            f"the token in {path} has expired", f"have {_PREFIX}TOKEN_FILE renewed"
        )
    # At most `UNKNOWN_LIFE`, after which the file is read again: it may be replaced at any time.
    return Token(value, min(life, UNKNOWN_LIFE))


def _from_endpoint(settings: Settings, client_secret: Callable[[], str]) -> Token:
    url = settings.kafka_sasl_oauthbearer_token_endpoint_url
    assert url is not None, "the settings were validated"
    form: dict[str, str] = {}
    headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    if settings.kafka_sasl_oauthbearer_assertion_file is not None:
        form["grant_type"] = "urn:ietf:params:oauth:grant-type:jwt-bearer"
        form["assertion"] = _read(settings.kafka_sasl_oauthbearer_assertion_file, "ASSERTION_FILE")
    else:
        form["grant_type"] = "client_credentials"
        name = settings.kafka_sasl_oauthbearer_client_id or ""
        secret = client_secret()
        # Both are form-encoded before they are joined (RFC 6749, §2.3.1).
        login = f"{quote(name, safe='')}:{quote(secret, safe='')}"
        headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
    if settings.kafka_sasl_oauthbearer_scope:
        form["scope"] = settings.kafka_sasl_oauthbearer_scope
    answer = _post(url, urlencode(form).encode(), headers)
    value, life = answer.get("access_token"), answer.get("expires_in")
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable():
        raise TokenUnavailable(
            f"the answer of {url} has no access_token",
            f"set {_PREFIX}TOKEN_ENDPOINT_URL to the token endpoint of the identity provider",
        )
    seconds = float(life) if isinstance(life, int | float | str) and _is_number(life) else None
    life = _life(value) if seconds is None else seconds
    if life <= 0:
        raise TokenUnavailable(
            f"{url} gives an expired token",
            f"look at its clock, or set {_PREFIX}TOKEN_ENDPOINT_URL",
        )
    return Token(value, life)


def _post(url: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
    """Return the JSON object in the endpoint's response; do not follow redirects."""
    endpoint = f"{_PREFIX}TOKEN_ENDPOINT_URL"
    try:
        status, data = answer_now(Exchange(url, ANSWER_SECONDS, MAX_ANSWER, headers, body))
    except (InvalidAnswer, AnswerTooLarge) as error:
        raise TokenUnavailable(f"the token endpoint {url}: {error}", f"set {endpoint}") from None
    except NoAnswer as error:
        raise TokenUnavailable(
            f"the token endpoint {url} does not answer: {error}", f"start it, or set {endpoint}"
        ) from None
    if status != 200:
        found = f"the token endpoint {url} answers {status}{_oauth_error(data)}"
        if status in {400, 401, 403}:
            names = f"{_PREFIX}CLIENT_ID, {_PREFIX}CLIENT_SECRET and {_PREFIX}SCOPE"
            raise TokenUnavailable(found, f"set {names} to values that it accepts")
        raise TokenUnavailable(found, f"look at its log, or set {endpoint}")
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (ValueError, RecursionError):
        raise TokenUnavailable(
            f"the answer of {url} is not a JSON object",
            f"set {endpoint} to the token endpoint of the identity provider",
        ) from None


def _oauth_status(data: bytes) -> str:
    """Return the `status` of a broker's rejection (RFC 7628, §3.2.2), if present."""
    return _word(data, "status")


def _oauth_error(data: bytes) -> str:
    """Return the `error` of an OAuth error response (RFC 6749, §5.2), if present."""
    return _word(data, "error")


def _word(data: bytes, name: str) -> str:
    try:
        code = msgspec.json.decode(data, type=dict[str, Any]).get(name)
    except (ValueError, RecursionError):
        return ""
    return f" ({code[:64]})" if isinstance(code, str) and code.isprintable() else ""


def _aws_source(settings: Settings) -> Callable[[], Token]:
    try:
        signer: Any = import_module("aws_msk_iam_sasl_signer.MSKAuthTokenProvider")
        aws: Any = import_module("botocore.session")
        credentials: Any = import_module("botocore.credentials")
        errors: Any = import_module("botocore.exceptions")
    except ImportError:
        raise SettingsError(
            "GATEWAY_KAFKA_SASL_MECHANISM=AWS_MSK_IAM needs an extra: run"
            " pip install '.[aws]' in a clone of the gateway"
        ) from None
    region, role = settings.kafka_aws_region, settings.kafka_aws_role_arn
    assert region is not None, "the settings were validated"

    class Current(credentials.CredentialProvider):  # type: ignore[misc]
        """Credentials of the environment, or of the role that is assumed with them."""

        def load(self) -> Any:
            session = aws.Session()
            # STS is asked for credentials in the same region.
            session.set_config_variable("region", region)
            if role is None:
                found = session.get_credentials()
                if found is None:
                    raise errors.NoCredentialsError
                return found.get_frozen_credentials()
            answer = session.create_client("sts").assume_role(
                RoleArn=role, RoleSessionName="kafka-sse-gateway"
            )["Credentials"]
            return credentials.Credentials(
                answer["AccessKeyId"], answer["SecretAccessKey"], answer["SessionToken"]
            )

    def sign() -> Token:
        try:
            value, expires_ms = signer.generate_auth_token_from_credentials_provider(
                region, Current()
            )
        except (errors.BotoCoreError, errors.ClientError, ValueError) as error:
            raise TokenUnavailable(
                f"AWS gives no credentials: {error}",
                "set the role of this process, or GATEWAY_KAFKA_AWS_ROLE_ARN and"
                " GATEWAY_KAFKA_AWS_REGION",
            ) from None
        return Token(value, expires_ms / 1000 - time.time())

    return sign


def _read(path: Path, setting: str) -> str:
    try:
        text = read_file(path).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        fault = getattr(error, "strerror", None) or "it is not ASCII"
        raise TokenUnavailable(
            f"{path} cannot be read: {fault}", f"set {_PREFIX}{setting}"
        ) from None
    if not text or not text.isprintable():
        raise TokenUnavailable(f"{path} holds no token", f"set {_PREFIX}{setting}")
    return text


def _life(token: str) -> float:
    """Return the seconds until a JWT's `exp`; `UNKNOWN_LIFE` for other tokens."""
    try:
        payload = token.split(".")[1]
        claims = msgspec.json.decode(
            base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=dict[str, Any]
        )
    except (IndexError, ValueError, binascii.Error, RecursionError):
        return UNKNOWN_LIFE
    try:
        return float(claims["exp"]) - time.time()
    except (KeyError, TypeError, ValueError, OverflowError):
        return UNKNOWN_LIFE


def _is_number(value: object) -> bool:
    try:
        return float(str(value)) > 0
    except ValueError:
        return False
