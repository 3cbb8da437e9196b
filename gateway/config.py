"""The settings: one frozen object from the environment and a TOML file.

Environment variables are the field names in upper case with the prefix `GATEWAY_`; the TOML file
uses the field names as they are. The environment wins. Lists are written with commas in the
environment and as arrays in TOML. Units are in the names.
"""

from __future__ import annotations

import os
import re
import tomllib
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.core.source import ValueFormat, simple_sources
from gateway.errors import SettingsError
from gateway.issuers import ASYMMETRIC, DEFAULT_ASYMMETRIC, check_issuers
from gateway.setting_types import (
    MAX_WORKERS,
    Address,
    Brokers,
    CookieName,
    Extensions,
    FilePath,
    GuardText,
    Issuers,
    ListenAddress,
    Networks,
    OptionalText,
    Origins,
    RegistryUrl,
    Secret,
    SecureUrl,
    Text,
    TopicName,
    TopicNameOrOff,
    Words,
    WorkerCount,
    shown,
)
from gateway.sources import load_sources

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.source import Source

PREFIX = "GATEWAY_"

MIN_SECRET_BYTES = 32
"""An HMAC key shorter than its hash can be guessed (RFC 7518, §3.2)."""

SYMMETRIC = frozenset({"HS256", "HS384", "HS512"})

_ONE_SOURCE = ("topic", "broadcast_topic", "value_format")
"""Settings of the topics without a file of sources."""

_ONE_ISSUER = (
    "jwt_algorithms",
    "jwt_issuer",
    "jwt_audience",
    "jwt_user_claim",
    "jwt_session_claim",
    "jwt_scope_claim",
)
"""Settings of the only issuer, for which each of several has its own."""

HOUR = 3600
DAY = 24 * HOUR
YEARS = 3650 * DAY
"""Ten years: the upper bound of ages, so that a time minus an age is never before 1970."""

_HALF = re.compile("[\ud800-\udfff]")
"""How Python represents bytes that are not UTF-8."""


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
    kafka_sasl_mechanism: Literal[
        "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM", "GSSAPI"
    ] = Field("PLAIN", description="how to log in, with a SASL protocol")
    kafka_sasl_username: OptionalText = Field(None, description="who to log in as")
    kafka_sasl_password: Secret = Field(None, description="the password for it")
    kafka_sasl_password_file: FilePath = Field(None, description="file with that password")
    kafka_sasl_oauthbearer_token_endpoint_url: SecureUrl | None = Field(
        None, description="token endpoint of the identity provider"
    )
    kafka_sasl_oauthbearer_client_id: OptionalText = Field(
        None, description="client at the token endpoint"
    )
    kafka_sasl_oauthbearer_client_secret: Secret = Field(None, description="secret of that client")
    kafka_sasl_oauthbearer_client_secret_file: FilePath = Field(
        None, description="file with that secret, read for each token"
    )
    kafka_sasl_oauthbearer_scope: OptionalText = Field(
        None, description="scope of the token; several with blanks"
    )
    kafka_sasl_oauthbearer_extensions: Extensions = Field(
        (), description="SASL extensions, as name=value"
    )
    kafka_sasl_oauthbearer_assertion_file: FilePath = Field(
        None, description="file with an assertion (RFC 7523), read for each token"
    )
    kafka_sasl_oauthbearer_token_file: FilePath = Field(
        None, description="file with a token that something else renews"
    )
    kafka_sasl_kerberos_service_name: Text = Field(
        "kafka", min_length=1, description="service name of the brokers, with GSSAPI"
    )
    kafka_sasl_kerberos_domain_name: OptionalText = Field(
        None, description="host name in the brokers' principal; none: that of the connection"
    )
    kafka_aws_region: OptionalText = Field(None, description="region of the cluster, with MSK IAM")
    kafka_aws_role_arn: OptionalText = Field(
        None, description="role to assume, with MSK IAM; none: that of the environment"
    )
    kafka_ssl_cafile: FilePath = Field(None, description="certificates that sign the brokers'")
    kafka_ssl_certfile: FilePath = Field(None, description="this client's certificate")
    kafka_ssl_keyfile: FilePath = Field(None, description="the key of this client's certificate")
    kafka_client_rack: OptionalText = Field(
        None, description="rack or zone of this worker, to read from followers in it; none: leaders"
    )

    topic: TopicName = Field("user-events", description="events of users, keyed by user id")
    broadcast_topic: TopicNameOrOff = Field(
        "broadcast-events", description="events for all users, one partition; empty: off"
    )
    sources: FilePath = Field(
        None,
        description="TOML file of topics and how their records become events; none: the two above",
    )
    revocations_topic: TopicNameOrOff = Field(
        "gateway-revocations", description="revoked sessions and users; empty: off"
    )
    workers_topic: TopicNameOrOff = Field(
        "gateway-workers", description="status of the fleet; empty: off"
    )
    dead_letter_topic: TopicNameOrOff = Field(
        "", description="topic for records that are skipped; empty: off"
    )
    create_topics: bool = Field(False, description="create missing topics; only for trying out")
    partitioner: Literal["murmur2", "crc32"] = Field(
        "murmur2", description="the producers' partitioner: Java and aiokafka, or librdkafka"
    )
    registry: FilePath = Field(None, description="TOML file of event types; none: built in")

    value_format: Literal["avro", "protobuf", "json-schema"] | None = Field(
        None, description="format of the values in both event topics; none: JSON"
    )
    schema_registry_url: RegistryUrl | None = Field(
        None, description="Schema Registry of sources with a `format`: [schemas](schemas.md)"
    )
    schema_registry_username: OptionalText = Field(None, description="who to log in there as")
    schema_registry_password: Secret = Field(None, description="the password for it")
    schema_registry_password_file: FilePath = Field(None, description="file with that password")
    schema_registry_token: Secret = Field(None, description="bearer token for it, instead of both")
    schema_registry_token_file: FilePath = Field(
        None, description="file with that token, which something else renews"
    )
    schema_registry_cafile: FilePath = Field(
        None, description="certificates that sign the registry's"
    )
    schema_registry_certfile: FilePath = Field(
        None, description="this client's certificate for the registry"
    )
    schema_registry_keyfile: FilePath = Field(None, description="the key of that certificate")
    schema_wait_seconds: float = Field(
        5, ge=0.1, le=60, description="how long records wait for a schema that is not cached"
    )

    jwt_secret: SecretStr | None = Field(None, description="HMAC key, 32 bytes or more")
    jwt_secret_file: FilePath = Field(None, description="file with that key")
    jwt_public_key_file: FilePath = Field(None, description="PEM file with the public key")
    jwt_jwks_url: SecureUrl | None = Field(None, description="where the public keys are published")
    jwt_algorithms: Words = Field((), description="accepted algorithms; all others are rejected")
    jwt_issuer: GuardText | None = Field(None, description="`iss` that a token must have")
    jwt_audience: GuardText | None = Field(None, description="`aud` that a token must name")
    jwt_leeway_seconds: float = Field(
        30, ge=0, le=HOUR, description="clock skew for `nbf` and `iat`"
    )
    jwt_user_claim: Text = Field("sub", min_length=1, description="claim that holds the user id")
    jwt_session_claim: Text = Field("sid", min_length=1, description="claim that holds the session")
    jwt_scope_claim: OptionalText = Field(
        None, description="claim with the scopes that limit what a token may read; none: no limit"
    )
    oidc_issuers: Issuers = Field(
        (), description="OpenID providers, as JSON or TOML tables: [identity](identity.md)"
    )
    oidc_http_hosts: Words = Field(
        (), description="hosts of OpenID providers that may be reached by http"
    )
    scope_prefix: Text = Field(
        "events:", min_length=1, description="what a scope begins with, before a category or type"
    )
    resource_url: SecureUrl | None = Field(
        None, description="URL of this gateway for clients, in RFC 9728 metadata; none: no metadata"
    )
    token_cookie: CookieName = Field(None, description="cookie that may carry the token; none: off")
    token_query: bool = Field(False, description="accept the token as `access_token` in the query")
    cors_origins: Origins = Field((), description="origins whose pages may read streams")
    revocation_seconds: float = Field(
        86_400, ge=1, le=YEARS, description="life of a revocation by default"
    )

    retry_ms: int = Field(
        3000,
        ge=0,
        le=HOUR * 1000,
        description="reconnect delay in `retry:`; each stream gets 0.5 to 1.5 times that",
    )
    heartbeat_seconds: float = Field(
        30, ge=0.1, le=HOUR, description="silence after which a stream sends a heartbeat"
    )
    max_stream_age_seconds: float = Field(
        3600, ge=1, le=30 * DAY, description="age at which a stream ends"
    )
    slow_seconds: float = Field(30, ge=0.1, le=HOUR, description="how long a stream may stay stuck")
    drain_seconds: float = Field(30, ge=0, le=DAY, description="over how long a drain is spread")

    tail_bytes: int = Field(
        134_217_728, ge=1, le=1 << 40, description="memory for recent records, in all"
    )
    tail_warm_seconds: float = Field(
        60, ge=0, le=7 * DAY, description="how much of a log is read when its first stream opens"
    )
    replay_max_age_seconds: float = Field(
        3600, ge=1, le=YEARS, description="oldest record that is replayed"
    )
    replay_max_events: int = Field(
        1000, ge=1, le=1_000_000, description="most events in one replay"
    )
    replay_max_records: int = Field(
        5_000_000, ge=1, le=10_000_000_000, description="most records read for one replay"
    )
    replay_scans: int = Field(
        4, ge=1, le=100, description="replays that read Kafka at the same time"
    )
    live_delay_ms: float = Field(7, ge=0, le=10_000, description="maximum delay that pacing adds")

    max_streams: int = Field(20_000, ge=1, le=1_000_000, description="streams of this worker")
    max_streams_per_user: int = Field(20, ge=1, le=1_000_000, description="streams of one user")
    max_streams_per_address: int | None = Field(
        None, ge=1, le=1_000_000, description="streams of one address"
    )
    trusted_proxies: Networks = Field((), description="networks whose forwarded addresses count")
    refuse_by_stream: bool = Field(
        False, description="answer 429 and 503 to an `EventSource` by a stream that ends at once"
    )
    workers: WorkerCount = Field(
        1,
        ge=1,
        le=MAX_WORKERS,
        description="worker processes of this machine; `auto`: as many as it has cores",
    )
    sharding: Literal["off", "redirect", "handover"] = Field(
        "off",
        description="`redirect`: send requests to the URL of their partition, for a load balancer;"
        " `handover`: divide the partitions among the workers of this machine only",
    )
    settle_seconds: float = Field(
        300,
        ge=0,
        le=7 * DAY,
        description="how long old and new partition are followed after a topic has grown",
    )

    tls_certfile: FilePath = Field(None, description="certificate for the public listener")
    tls_keyfile: FilePath = Field(None, description="key of that certificate")
    ops_token: Secret = Field(
        None, description="bearer token of the operations listener; required beyond loopback"
    )
    ops_token_file: FilePath = Field(None, description="file with that token")
    fleet_name: OptionalText = Field(
        None, description="name of the cluster or environment, shown in the dashboard's title"
    )
    log_format: Literal["text", "json"] | None = Field(
        None, description="none: text on a terminal, else json"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="lowest level that is logged"
    )
    log_users: Literal["hash", "plain"] = Field(
        "hash", description="form of users and sessions in the log"
    )
    log_key: SecretStr | None = Field(
        None, description="key of that hash, 32 bytes or more; none: random at each start"
    )

    log_key_file: FilePath = Field(None, description="file with that key")

    tracing: bool = Field(False, description="send traces; needs the extra `tracing`")
    otlp_metrics: bool = Field(
        False, description="send the metrics by OTLP as well; needs the extra `tracing`"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Give the environment precedence over the file (the init arguments)."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        keys = [
            name
            for name in ("jwt_secret", "jwt_public_key_file", "jwt_jwks_url", "oidc_issuers")
            if getattr(self, name)
        ]
        if len(keys) > 1:
            raise ValueError(
                f"set one of {_names(keys)}, not {len(keys)}: key kinds are never mixed"
            )
        for name in ("jwt_secret", "log_key"):
            secret = getattr(self, name)
            if secret is not None and (fault := _fault_of(name, secret.get_secret_value())):
                raise ValueError(fault)
        allowed = SYMMETRIC if self.jwt_secret is not None else ASYMMETRIC
        wrong = [name[:16] for name in self.jwt_algorithms if name not in allowed][:10]
        if keys and wrong:
            raise ValueError(
                f"{_name('jwt_algorithms')} has {', '.join(wrong)}, which does not go with"
                f" {_name(keys[0])}; it takes {', '.join(sorted(allowed))}"
            )
        if self.oidc_issuers:
            alone = [name for name in _ONE_ISSUER if name in self.model_fields_set]
            if alone:
                raise ValueError(
                    f"{_names(alone)} cannot be set with {_name('oidc_issuers')}: each issuer"
                    " there has its own audience, algorithms and claims"
                )
            try:
                check_issuers(self.oidc_issuers, self.oidc_http_hosts)
            except ValueError as error:
                raise ValueError(f"{_name('oidc_issuers')}: {error}") from None
        for one, other in (
            ("tls_certfile", "tls_keyfile"),
            ("kafka_ssl_certfile", "kafka_ssl_keyfile"),
            ("kafka_sasl_username", "kafka_sasl_password"),
            ("schema_registry_username", "schema_registry_password"),
            ("schema_registry_certfile", "schema_registry_keyfile"),
        ):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                raise ValueError(f"set both {_name(one)} and {_name(other)}, or neither")
        self._check_login()
        if self.schema_registry_username and self.schema_registry_token:
            raise ValueError(
                f"set {_name('schema_registry_username')} or {_name('schema_registry_token')}, not"
                " both"
            )
        if not self.ops_listen.is_loopback and self.ops_token is None:
            raise ValueError(
                f"{_name('ops_listen')} is not on loopback: set {_name('ops_token')},"
                " or bind it to 127.0.0.1"
            )
        if self.ops_token is not None and (
            fault := _fault_of("ops_token", self.ops_token.get_secret_value())
        ):
            raise ValueError(fault)
        if self.sharding == "handover" and self.workers > 1 and self.tls_certfile is not None:
            raise ValueError(
                f"{_name('sharding')}=handover cannot be set with {_name('tls_certfile')}: a TLS"
                " connection cannot be handed to another process; end TLS at a proxy"
            )
        if self.listen.port == self.ops_listen.port and self.listen.port:
            raise ValueError(f"{_name('listen')} and {_name('ops_listen')} must be different ports")
        if self.sources is not None:
            alone = [name for name in _ONE_SOURCE if name in self.model_fields_set]
            if alone:
                raise ValueError(
                    f"{_names(alone)} cannot be set with {_name('sources')}: write each topic as a"
                    f" [[source]] in {shown(str(self.sources))[1:-1]}"
                )
        try:
            topics = [source.topic for source in self.event_sources]
        except SettingsError as error:
            raise ValueError(str(error)) from None
        others = (self.revocations_topic, self.workers_topic, self.dead_letter_topic)
        topics += [topic for topic in others if topic]
        if len(set(topics)) < len(topics):
            raise ValueError(f"the topics must be different ones, not {', '.join(topics)}")
        return self

    def _check_login(self) -> None:
        """Raise `ValueError` if settings of the Kafka login are missing or conflict."""
        mechanism, protocol = self.kafka_sasl_mechanism, self.kafka_security_protocol
        if not protocol.startswith("SASL"):
            if mechanism in {"OAUTHBEARER", "AWS_MSK_IAM", "GSSAPI"}:
                raise ValueError(
                    f"{_name('kafka_sasl_mechanism')}={mechanism} needs"
                    f" {_name('kafka_security_protocol')}=SASL_SSL"
                )
            return
        if mechanism in {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}:
            if self.kafka_sasl_username is None:
                raise ValueError(
                    f"{_name('kafka_security_protocol')}={protocol} needs"
                    f" {_name('kafka_sasl_username')} and {_name('kafka_sasl_password')}"
                )
        elif mechanism == "AWS_MSK_IAM":
            if self.kafka_aws_region is None:
                raise ValueError(
                    f"{_name('kafka_sasl_mechanism')}=AWS_MSK_IAM needs {_name('kafka_aws_region')}"
                )
        elif mechanism == "OAUTHBEARER":
            self._check_token_source()

    def _check_token_source(self) -> None:
        prefix = "kafka_sasl_oauthbearer_"
        endpoint, file = f"{prefix}token_endpoint_url", f"{prefix}token_file"
        if (getattr(self, endpoint) is None) == (getattr(self, file) is None):
            raise ValueError(
                f"{_name('kafka_sasl_mechanism')}=OAUTHBEARER needs one of {_name(endpoint)} and"
                f" {_name(file)}"
            )
        if getattr(self, file) is not None:
            return
        client = (self.kafka_sasl_oauthbearer_client_id, self.kafka_sasl_oauthbearer_client_secret)
        assertion = self.kafka_sasl_oauthbearer_assertion_file
        if (None in client and (assertion is None or any(client))) or (assertion and any(client)):
            raise ValueError(
                f"{_name(endpoint)} needs either {_name(f'{prefix}client_id')} and"
                f" {_name(f'{prefix}client_secret')}, or {_name(f'{prefix}assertion_file')}"
            )

    def read_secret(self, name: str) -> str:
        """Read the secret of the setting `name` again from its file.

        Raises `SettingsError` if the file cannot be read or its content is invalid.
        """
        secret = _read_secret(name, getattr(self, f"{name}_file"))
        if fault := _fault_of(name, secret):
            raise SettingsError(f"{_name(name)}_FILE: {fault}")
        return secret

    def require_key(self) -> Self:
        """Return the settings if they can verify tokens.

        Raises `SettingsError` otherwise; commands that verify no tokens do not call it.
        """
        if self.jwt_secret or self.jwt_public_key_file or self.jwt_jwks_url or self.oidc_issuers:
            return self
        raise SettingsError(
            f"no key to verify tokens with: set {_name('jwt_secret')} (make one with: openssl rand"
            f" -base64 48), {_name('jwt_public_key_file')}, {_name('jwt_jwks_url')} or"
            f" {_name('oidc_issuers')}"
        )

    @cached_property
    def event_sources(self) -> tuple[Source, ...]:
        """The topics that streams read, at least one: as written, those for all streams last.

        Raises `SettingsError`, but not for settings of `load_settings`.
        """
        if self.sources is not None:
            return load_sources(self.sources, type(self).model_fields)
        form = None if self.value_format is None else ValueFormat(self.value_format)
        sources = simple_sources(self.topic, self.broadcast_topic)
        return tuple(source._replace(format=form) for source in sources)

    @property
    def algorithms(self) -> list[str]:
        """The accepted algorithms: as set, or the defaults for the kind of key."""
        if self.jwt_algorithms:
            return list(self.jwt_algorithms)
        return ["HS256"] if self.jwt_secret is not None else list(DEFAULT_ASYMMETRIC)


GROUPS = {
    "Listening": "listen",
    "Kafka": "kafka_bootstrap",
    "Topics": "topic",
    "Schema Registry": "value_format",
    "Tokens": "jwt_secret",
    "Streams": "retry_ms",
    "Memory and replay": "tail_bytes",
    "Limits": "max_streams",
    "Workers": "workers",
    "TLS and operations": "tls_certfile",
    "Log and traces": "log_format",
}
"""First setting of each group; a group ends where the next one begins."""


def grouped() -> dict[str, list[str]]:
    """Return the fields of the settings by group."""
    groups: dict[str, list[str]] = {}
    firsts = {first: group for group, first in GROUPS.items()}
    for name in Settings.model_fields:
        if name in firsts:
            groups[firsts[name]] = fields = []
        fields.append(name)
    return groups


def origins(config: Path | None = None) -> dict[str, str]:
    """Return the origin of each setting.

    The origin is `default`, `environment`, the path of the TOML file, or the setting that names the
    file of a secret. Raises `SettingsError` for a file that cannot be read.
    """
    environment = {name.lower() for name in os.environ}
    file = _read_toml(config)

    def origin(name: str) -> str:
        if f"{PREFIX}{name}".lower() in environment:
            return "environment"
        return str(config) if name in file else "default"

    found = {name: origin(name) for name in Settings.model_fields}
    for name in SECRETS:
        if found[name] == "default" and found[f"{name}_file"] != "default":
            found[name] = f"{_name(name)}_FILE"
    return found


def load_settings(config: Path | None = None, **overrides: object) -> Settings:
    """Return the settings from the environment, then `config`, then `overrides` as defaults.

    Raises `SettingsError` with one line for each mistake: an invalid value, a name in the file that
    is not a setting, a variable whose name is close to that of a setting, a file that cannot be
    read.
    """
    values = {**overrides, **_read_toml(config)}
    if "source" in values:  # the settings file has the sources too
        del values["source"]
        values.setdefault("sources", config)
    wrong = _add_secrets_of_files(values)
    wrong += [
        f"{name}: there is no such setting{hint}"
        for name in _unknown(os.environ)
        if (hint := _hint(name.removeprefix(PREFIX).lower()))
    ]
    if not_utf8 := _not_utf8(os.environ):
        raise SettingsError("\n".join([*wrong, *not_utf8]))
    try:
        settings = Settings(**values)
    except ValidationError as error:
        lines = [_explain(item) for item in error.errors(include_url=False, include_input=False)]
        raise SettingsError("\n".join([*wrong, *lines])) from None
    if wrong:
        raise SettingsError("\n".join(wrong))
    return settings


def foreign_variables() -> list[str]:
    """Return the variables of the environment that begin with `GATEWAY_` and are not settings.

    Kubernetes sets such variables for a Service named `gateway`; other programs may set more. Names
    close to that of a setting are excluded, because `load_settings` rejects them.
    """
    return [name for name in _unknown(os.environ) if not _hint(name.removeprefix(PREFIX).lower())]


SECRETS = (
    "kafka_sasl_password",
    "kafka_sasl_oauthbearer_client_secret",
    "schema_registry_password",
    "schema_registry_token",
    "jwt_secret",
    "ops_token",
    "log_key",
)
"""Settings that may be read from a file; `<setting>_file` names the file."""


def _add_secrets_of_files(values: dict[str, Any]) -> list[str]:
    """Add secrets from files to `values` and return a line for each mistake."""
    environment = {name.lower(): value for name, value in os.environ.items()}
    wrong = []
    for name in SECRETS:
        path = environment.get(f"{PREFIX}{name}_file".lower(), values.get(f"{name}_file"))
        if not isinstance(path, str | Path) or not str(path).strip():
            continue
        if f"{PREFIX}{name}".lower() in environment or values.get(name) is not None:
            wrong.append(f"set one of {_name(name)} and {_name(name)}_FILE, not both")
            continue
        try:
            values[name] = _read_secret(name, Path(str(path).strip()))
        except SettingsError as error:
            wrong.append(str(error))
    return wrong


def _fault_of(name: str, secret: str) -> str:
    """Return the fault of a secret's value with the remedy; "" if it is valid."""
    remedy = "make one with: openssl rand -base64 48"
    if name in {"jwt_secret", "log_key"}:
        size = len(secret.encode())
        needed = f"it needs {MIN_SECRET_BYTES} or more"
        return f"{_name(name)} has {size} bytes, {needed}; {remedy}" * (size < MIN_SECRET_BYTES)
    if not secret.strip():
        return (
            f"{_name(name)} is empty: without one, any client would be accepted; {remedy}"
            if name == "ops_token"
            else f"{_name(name)} is empty"
        )
    if name == "ops_token" and not secret.isprintable():
        return f"{_name(name)} holds a character that no client can send in a header; {remedy}"
    return ""


def _read_secret(name: str, path: Path) -> str:
    """Return the file content without a trailing line break. Raises `SettingsError`."""
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        fault = error.strerror
    except UnicodeDecodeError:
        fault = "it is not UTF-8; write a secret in base64 or hex"
    except ValueError:
        fault = "the name holds a character that no file name can have"
    raise SettingsError(f"{_name(name)}_FILE: {shown(str(path))[1:-1]} cannot be read: {fault}")


def _read_toml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # not UTF-8; a number or nesting too long
        raise SettingsError(f"{path}: is not valid TOML: {error}") from None


def _unknown(environment: Mapping[str, str]) -> list[str]:
    return [
        name
        for name in sorted(environment)
        if name.startswith(PREFIX)
        and name.removeprefix(PREFIX).lower() not in Settings.model_fields
    ]


def _not_utf8(environment: Mapping[str, str]) -> list[str]:
    # pydantic can neither validate such a text nor report its fault.
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
