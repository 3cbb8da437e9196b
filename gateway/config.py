"""The settings: one frozen object from the environment and a TOML file.

Environment variables are the field names in upper case with the prefix `GATEWAY_`; the TOML file
uses the field names as they are. The environment wins. Lists are written with commas in the
environment and as arrays in TOML. Units are in the names. The fields are in `gateway.settings`.
"""

from __future__ import annotations

import os
import re
import tomllib
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.core.source import ValueFormat, simple_sources
from gateway.errors import SettingsError
from gateway.files import read_file
from gateway.settings.kafka_settings import KafkaSettings, SchemaSettings, TopicSettings
from gateway.settings.secret_settings import (
    PREFIX,
    SECRETS,
    env,
    envs,
    read_secret,
    secret_fault,
)
from gateway.settings.setting_types import shown
from gateway.settings.token_settings import TokenSettings
from gateway.settings.worker_settings import (
    LimitSettings,
    ListenSettings,
    LogSettings,
    OperationsSettings,
    ReplaySettings,
    StreamSettings,
    WorkerSettings,
)
from gateway.sources import load_sources

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from gateway.core.source import Source

_ONE_SOURCE = ("topic", "broadcast_topic", "value_format")
"""Settings of the topics without a file of sources."""
_HALF = re.compile("[\ud800-\udfff]")
"""How Python represents bytes that are not UTF-8."""


# Pydantic lists the fields of the last base first, and the documents show that order.
class Settings(
    LogSettings,
    OperationsSettings,
    WorkerSettings,
    LimitSettings,
    ReplaySettings,
    StreamSettings,
    TokenSettings,
    SchemaSettings,
    TopicSettings,
    KafkaSettings,
    ListenSettings,
    BaseSettings,
):
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
    def _check_listeners(self) -> Self:
        if not self.ops_listen.is_loopback and self.ops_token is None:
            raise ValueError(
                f"{env('ops_listen')} is not on loopback: set {env('ops_token')},"
                " or bind it to 127.0.0.1"
            )
        if self.sharding == "handover" and self.workers > 1 and self.tls_certfile is not None:
            raise ValueError(
                f"{env('sharding')}=handover cannot be set with {env('tls_certfile')}: a TLS"
                " connection cannot be handed to another process; end TLS at a proxy"
            )
        if self.listen.port == self.ops_listen.port and self.listen.port:
            raise ValueError(f"{env('listen')} and {env('ops_listen')} must be different ports")
        return self

    @model_validator(mode="after")
    def _check_topics(self) -> Self:
        if self.sources is not None:
            alone = [name for name in _ONE_SOURCE if name in self.model_fields_set]
            if alone:
                raise ValueError(
                    f"{envs(alone)} cannot be set with {env('sources')}: write each topic as a"
                    f" [[source]] in {shown(str(self.sources))[1:-1]}"
                )
        try:
            topics = [source.topic for source in self.event_sources]
        except SettingsError as error:
            raise ValueError(str(error)) from None
        others = (self.revocations_topic, self.workers_topic, self.dead_letter_topic)
        topics += [topic for topic in others if topic]
        twice = {topic for topic in topics if topics.count(topic) > 1}
        if twice:
            raise ValueError(
                f"two settings name the topic {min(twice)}; each purpose needs a topic of its own"
            )
        return self

    def read_secret(self, name: str) -> str:
        """Read the secret of the setting `name` again from its file.

        Raises `SettingsError` if the file cannot be read or its content is invalid.
        """
        secret = read_secret(name, getattr(self, f"{name}_file"))
        if fault := secret_fault(name, secret):
            raise SettingsError(f"{env(name)}_FILE: {fault}")
        return secret

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


GROUPS: dict[str, type[BaseModel]] = {
    "Listening": ListenSettings,
    "Kafka": KafkaSettings,
    "Topics": TopicSettings,
    "Schema Registry": SchemaSettings,
    "Tokens": TokenSettings,
    "Streams": StreamSettings,
    "Memory and replay": ReplaySettings,
    "Limits": LimitSettings,
    "Workers": WorkerSettings,
    "TLS and operations": OperationsSettings,
    "Log and traces": LogSettings,
}
"""The subjects of the settings, in the order of the documents."""


def grouped() -> dict[str, list[str]]:
    """Return the fields of the settings by group."""
    return {group: list(fields.model_fields) for group, fields in GROUPS.items()}


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
            found[name] = f"{env(name)}_FILE"
    return found


def load_settings(config: Path | None = None, **overrides: object) -> Settings:
    """Return the settings from the environment, then `config`, then `overrides` as defaults.

    Raises `SettingsError` with one line for each mistake: an invalid value, a name in the file that
    is not a setting, a variable whose name is close to that of a setting, a file that cannot be
    read.
    """
    values = {**overrides, **_read_toml(config)}
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


def _add_secrets_of_files(values: dict[str, Any]) -> list[str]:
    """Add secrets from files to `values` and return a line for each mistake."""
    environment = {name.lower(): value for name, value in os.environ.items()}
    wrong = []
    for name in SECRETS:
        path = environment.get(f"{PREFIX}{name}_file".lower(), values.get(f"{name}_file"))
        if not isinstance(path, str | Path) or not str(path).strip():
            continue
        if f"{PREFIX}{name}".lower() in environment or values.get(name) is not None:
            wrong.append(f"set one of {env(name)} and {env(name)}_FILE, not both")
            continue
        try:
            values[name] = read_secret(name, Path(str(path).strip()))
        except SettingsError as error:
            wrong.append(str(error))
    return wrong


def _read_toml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        values = tomllib.loads(read_file(path, may_wait=True).decode())
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # not UTF-8; a number or nesting too long
        raise SettingsError(f"{path}: is not valid TOML: {error}") from None
    if "source" in values:  # the settings file has the sources too
        del values["source"]
        values.setdefault("sources", path)
    return values


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
        close = get_close_matches(field.removeprefix(PREFIX).lower(), Settings.model_fields, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return f"{field}: a file has no such setting{hint}"
    return f"{env(field)}: {str(item['msg']).removeprefix('Value error, ')}"


def _hint(name: str) -> str:
    close = get_close_matches(name, Settings.model_fields, n=1)
    return f"; did you mean {env(close[0])}?" if close else ""
