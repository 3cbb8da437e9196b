"""One frozen settings object, from the environment and a TOML file, validated once.

Environment variables are the field names in upper case with the prefix `GATEWAY_`; the TOML file
uses the field names as they are. The environment wins. Lists are written with commas in the
environment and as arrays in TOML. Units are in the names.
"""

from __future__ import annotations

import os
import re
import tomllib
from difflib import get_close_matches
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "GATEWAY_"

MIN_SECRET_BYTES = 32
"""An HMAC key shorter than its hash can be guessed (RFC 7518, §3.2)."""

SYMMETRIC = frozenset({"HS256", "HS384", "HS512"})
ASYMMETRIC = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
)

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
"""An origin as RFC 6454, §6.2, writes it; apps bring schemes of their own."""

_DEFAULT_PORTS = {"https:": ":443", "http:/": ":80"}

_HALF = re.compile("[\ud800-\udfff]")
"""What Python makes of bytes that are no UTF-8."""

_HOST_AND_PORT = re.compile(r"(\[[^\s\[\]]+\]|[^\s\[\]:/]+):(?P<port>[0-9]{1,5})")


def _split(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _address(value: object) -> object:
    parts = _HOST_AND_PORT.fullmatch(str(value))
    if not parts or int(parts["port"]) > 65535:
        raise ValueError(
            "write it as host:port, for example 127.0.0.1:8080 or, with IPv6, [::1]:8080"
        )
    return Address(value)


def _brokers(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value or not all(_HOST_AND_PORT.fullmatch(broker) for broker in value):
        raise ValueError("write it as host:port, several with commas, for example kafka:9092")
    return value


def _key_url(value: str) -> str:
    try:
        url = urlsplit(value)
        local = Address(f"{url.hostname}:0").is_loopback
        fits = url.scheme == "https" or (url.scheme == "http" and local)
        fits = fits and bool(url.hostname) and url.port != 0 and url.username is None
    except ValueError:  # of a port or an address that is none
        fits = False
    if not fits or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(
            "write it as https://host/path, without user and password; http:// is for loopback"
            " only, since whoever can change the keys on their way can sign any token"
        )
    return value


def _origins(value: tuple[str, ...]) -> tuple[str, ...]:
    for origin in value:
        if not _ORIGIN.fullmatch(origin) or origin.endswith(_DEFAULT_PORTS.get(origin[:6], "/")):
            raise ValueError(
                f"{origin!r} is no origin; write each one as browsers send it, for example"
                " https://app.example.com: scheme, host in lower case, port if it is not the"
                " usual one, and nothing else. There is no wildcard: streams are for their user"
            )
    return value


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for network in value:
        try:
            ip_network(network)
        except ValueError as error:
            raise ValueError(
                f"{error}; write each as a network or an address, for example 10.0.0.0/8 or ::1"
            ) from None
    return value


class Address(str):
    """A `host:port` to listen on; an IPv6 host stands in brackets."""

    __slots__ = ()

    @property
    def host(self) -> str:
        """The host without brackets."""
        return self.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port; 0 lets the system choose."""
        return int(self.rpartition(":")[2])

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Brokers = Annotated[Words, AfterValidator(_brokers)]
Origins = Annotated[Words, AfterValidator(_origins)]
Networks = Annotated[Words, AfterValidator(_networks)]
KeyUrl = Annotated[str, AfterValidator(_key_url)]
ListenAddress = Annotated[Any, BeforeValidator(_address)]


class Settings(BaseSettings):
    """Everything that can be set; `docs/settings.md` is made from this class.

    Build it with `load_settings`, which turns every mistake into one line.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        case_sensitive=False,
        env_ignore_empty=False,
        allow_inf_nan=False,
    )

    listen: ListenAddress = Field(Address("127.0.0.1:8080"), description="where clients connect")
    ops_listen: ListenAddress = Field(
        Address("127.0.0.1:8081"), description="where operators and Prometheus connect"
    )

    kafka_bootstrap: Brokers = Field(("127.0.0.1:9092",), description="brokers to ask first")
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="how to talk to the brokers"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", description="how to log in, with a SASL protocol"
    )
    kafka_sasl_username: str | None = Field(None, description="who to log in as")
    kafka_sasl_password: SecretStr | None = Field(None, description="the password for it")
    kafka_ssl_cafile: Path | None = Field(None, description="certificates that sign the brokers'")
    kafka_ssl_certfile: Path | None = Field(None, description="this client's certificate")
    kafka_ssl_keyfile: Path | None = Field(None, description="the key of this client's certificate")

    topic: str = Field("user-events", min_length=1, description="events of users, keyed by user id")
    broadcast_topic: str = Field(
        "broadcast-events", description="events for everybody, one partition; empty: off"
    )
    revocations_topic: str = Field(
        "gateway-revocations", description="revoked sessions and users; empty: off"
    )
    workers_topic: str = Field("gateway-workers", description="status of the fleet; empty: off")
    create_topics: bool = Field(False, description="create missing topics; only for trying out")
    partitioner: Literal["murmur2", "crc32"] = Field(
        "murmur2", description="the producers' partitioner: Java and aiokafka, or librdkafka"
    )
    registry: Path | None = Field(None, description="TOML file of event types; none: built in")

    jwt_secret: SecretStr | None = Field(None, description="HMAC key, 32 bytes or more")
    jwt_public_key_file: Path | None = Field(None, description="PEM file with the public key")
    jwt_jwks_url: KeyUrl | None = Field(None, description="where the public keys are published")
    jwt_algorithms: Words = Field((), description="accepted algorithms, nothing else is")
    jwt_issuer: str | None = Field(None, description="`iss` that a token must have")
    jwt_audience: str | None = Field(None, description="`aud` that a token must name")
    jwt_leeway_seconds: NonNegativeFloat = Field(30, description="clock skew for `nbf` and `iat`")
    jwt_user_claim: str = Field("sub", min_length=1, description="claim that holds the user id")
    jwt_session_claim: str = Field("sid", min_length=1, description="claim that holds the session")
    token_cookie: str | None = Field(None, description="cookie that may carry the token; none: off")
    token_query: bool = Field(False, description="accept the token as `access_token` in the query")
    cors_origins: Origins = Field((), description="origins whose pages may read streams")

    retry_ms: NonNegativeInt = Field(3000, description="`retry:` that clients are told")
    heartbeat_seconds: PositiveFloat = Field(30, description="silence after which a stream beats")
    max_stream_age_seconds: PositiveFloat = Field(3600, description="age at which a stream ends")
    slow_seconds: PositiveFloat = Field(30, description="how long a stream may stay stuck")
    drain_seconds: NonNegativeFloat = Field(30, description="over how long a drain is spread")

    tail_bytes: PositiveInt = Field(134_217_728, description="memory for recent records, in all")
    tail_warm_seconds: NonNegativeFloat = Field(
        60, description="how much of a log is read when its first stream opens"
    )
    replay_max_age_seconds: PositiveFloat = Field(
        3600, description="oldest record that is replayed"
    )
    replay_max_events: PositiveInt = Field(1000, description="most events in one replay")
    replay_max_records: PositiveInt = Field(
        5_000_000, description="most records read for one replay"
    )
    replay_scans: PositiveInt = Field(4, description="replays that read Kafka at the same time")
    live_delay_ms: NonNegativeFloat = Field(20, description="the most that pacing may add")

    max_streams: PositiveInt = Field(20_000, description="streams of this worker")
    max_streams_per_user: PositiveInt = Field(20, description="streams of one user")
    max_streams_per_address: PositiveInt | None = Field(None, description="streams of one address")
    trusted_proxies: Networks = Field((), description="networks whose forwarded addresses count")
    sharding: Literal["off", "redirect"] = Field(
        "off", description="send requests to the URL of their partition, for a load balancer"
    )
    settle_seconds: NonNegativeFloat = Field(
        300, description="how long old and new partition are followed after a topic has grown"
    )
    revocation_seconds: PositiveFloat = Field(86_400, description="life of a revocation by default")

    tls_certfile: Path | None = Field(None, description="certificate for the public listener")
    tls_keyfile: Path | None = Field(None, description="key of that certificate")
    ops_token: SecretStr | None = Field(
        None, description="bearer token of the operations listener; required beyond loopback"
    )
    log_format: Literal["text", "json"] | None = Field(
        None, description="none: text on a terminal, else json"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="from here on"
    )
    log_users: Literal["hash", "plain"] = Field(
        "hash", description="how users and sessions stand in the log"
    )
    log_key: SecretStr | None = Field(
        None, description="key of that hash, 32 bytes or more; none: drawn at each start"
    )

    tracing: bool = Field(False, description="send traces; needs the extra `tracing`")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the environment before the file, whose values arrive as arguments."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        keys = [
            name
            for name in ("jwt_secret", "jwt_public_key_file", "jwt_jwks_url")
            if getattr(self, name) is not None
        ]
        if len(keys) > 1:
            raise ValueError(
                f"set one of {_names(keys)}, not {len(keys)}: key kinds are never mixed"
            )
        for name in ("jwt_secret", "log_key"):
            secret = getattr(self, name)
            size = MIN_SECRET_BYTES if secret is None else len(secret.get_secret_value().encode())
            if size < MIN_SECRET_BYTES:
                raise ValueError(
                    f"{_name(name)} has {size} bytes, it needs {MIN_SECRET_BYTES} or more;"
                    " make one with: openssl rand -base64 48"
                )
        allowed = SYMMETRIC if self.jwt_secret is not None else ASYMMETRIC
        wrong = [algorithm for algorithm in self.jwt_algorithms if algorithm not in allowed]
        if keys and wrong:
            raise ValueError(
                f"{_name('jwt_algorithms')} has {', '.join(wrong)}, which does not go with"
                f" {_name(keys[0])}; it takes {', '.join(sorted(allowed))}"
            )
        for one, other in (
            ("tls_certfile", "tls_keyfile"),
            ("kafka_ssl_certfile", "kafka_ssl_keyfile"),
            ("kafka_sasl_username", "kafka_sasl_password"),
        ):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                raise ValueError(f"set both {_name(one)} and {_name(other)}, or neither")
        if self.kafka_security_protocol.startswith("SASL") and self.kafka_sasl_username is None:
            raise ValueError(
                f"{_name('kafka_security_protocol')}={self.kafka_security_protocol} needs"
                f" {_name('kafka_sasl_username')} and {_name('kafka_sasl_password')}"
            )
        if not self.ops_listen.is_loopback and self.ops_token is None:
            raise ValueError(
                f"{_name('ops_listen')} is not on loopback: set {_name('ops_token')},"
                " or bind it to 127.0.0.1"
            )
        if self.ops_token is not None and not self.ops_token.get_secret_value().strip():
            raise ValueError(f"{_name('ops_token')} is empty: anybody could send it")
        if self.listen.port == self.ops_listen.port and self.listen.port:
            raise ValueError(f"{_name('listen')} and {_name('ops_listen')} must be different ports")
        topics = [
            topic
            for topic in (
                self.topic,
                self.broadcast_topic,
                self.revocations_topic,
                self.workers_topic,
            )
            if topic
        ]
        if len(set(topics)) < len(topics):
            raise ValueError(f"the topics must be different ones, not {', '.join(topics)}")
        return self

    def require_key(self) -> Self:
        """Return the settings if they can verify tokens.

        Raises `SettingsError` otherwise; commands that verify none do not ask.
        """
        if self.jwt_secret or self.jwt_public_key_file or self.jwt_jwks_url:
            return self
        raise SettingsError(
            f"no key to verify tokens with: set {_name('jwt_secret')} (make one with: openssl rand"
            f" -base64 48), {_name('jwt_public_key_file')} or {_name('jwt_jwks_url')}"
        )

    @property
    def algorithms(self) -> list[str]:
        """The accepted algorithms: as set, or those that go with the kind of key."""
        if self.jwt_algorithms:
            return list(self.jwt_algorithms)
        return ["HS256"] if self.jwt_secret is not None else ["RS256", "ES256", "EdDSA"]


def load_settings(config: Path | None = None, **overrides: object) -> Settings:
    """Return the settings from the environment, then `config`, then `overrides` as defaults.

    Raises `SettingsError` with one line for each mistake: a value that does not fit, a name that is
    not known (in the file, or in the environment behind `GATEWAY_`), a file that cannot be read.
    """
    values = {**overrides, **_read_toml(config)}
    unknown = _unknown(os.environ)
    if unreadable := _not_utf8(os.environ):
        raise SettingsError("\n".join([*unknown, *unreadable]))
    try:
        settings = Settings(**values)
    except ValidationError as error:
        lines = [_explain(item) for item in error.errors(include_url=False, include_input=False)]
        raise SettingsError("\n".join([*unknown, *lines])) from None
    if unknown:
        raise SettingsError("\n".join(unknown))
    return settings


def _read_toml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # no UTF-8; a number or nesting without end
        raise SettingsError(f"{path}: is no TOML: {error}") from None


def _unknown(environment: Mapping[str, str]) -> list[str]:
    return [
        f"{name}: there is no such setting{_hint(name.removeprefix(PREFIX).lower())}"
        for name in sorted(environment)
        if name.startswith(PREFIX)
        and name.removeprefix(PREFIX).lower() not in Settings.model_fields
    ]


def _not_utf8(environment: Mapping[str, str]) -> list[str]:
    # pydantic can neither check such a text nor say what is wrong with it.
    return [
        f"{name}: holds bytes that are not UTF-8; write a secret in base64 or hex"
        for name, value in sorted(environment.items())
        if name.startswith(PREFIX) and not value.isascii() and _HALF.search(value)
    ]


def _explain(item: Any) -> str:
    if not item["loc"]:
        return str(item["msg"]).removeprefix("Value error, ")
    field = str(item["loc"][0])
    if item["type"] == "extra_forbidden":
        return f"{field}: there is no such setting{_hint(field)}"
    return f"{_name(field)}: {str(item['msg']).removeprefix('Value error, ')}"


def _hint(name: str) -> str:
    close = get_close_matches(name, Settings.model_fields, n=1)
    return f"; did you mean {_name(close[0])}?" if close else ""


def _name(field: str) -> str:
    return PREFIX + field.upper()


def _names(fields: list[str]) -> str:
    return ", ".join(_name(field) for field in fields)
