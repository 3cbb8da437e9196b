"""`gateway config`: print the settings in force and the origin of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from gateway.commands.console import (
    AsJson,
    ConfigFile,
    plain_table,
    shown,
    to_stderr,
    to_stdout,
)
from gateway.config import grouped, load_settings, origins
from gateway.core.records import LogKind
from gateway.issuers import Issuer
from gateway.settings.secret_settings import PREFIX, SECRETS
from gateway.sources import AUDIENCES, KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

    from gateway.config import Settings
    from gateway.core.source import Source

HIDDEN = "(hidden)"
SOURCES = PREFIX + "SOURCES"

_AUDIENCES = {kind: name for name, kind in AUDIENCES.items()}


def show_config(
    changed: Annotated[
        bool, typer.Option("--changed", help="Only settings that do not come from the default.")
    ] = False,
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> None:
    """Show the settings in force and the origin of each; secrets are hidden.

    The origin is default, environment, the file of --config, or the setting that names the file of
    a secret.
    """
    settings = load_settings(config)
    sources = origins(config)
    groups = {
        group: {name: sources[name] for name in names if not changed or sources[name] != "default"}
        for group, names in grouped().items()
    }
    if as_json:
        values = {
            PREFIX + name.upper(): {"value": _value(settings, name), "origin": origin}
            for group in groups.values()
            for name, origin in group.items()
        }
        if settings.sources is not None:
            values[SOURCES]["sources"] = [_written(each) for each in settings.event_sources]
        typer.echo(msgspec.json.format(msgspec.json.encode(values, enc_hook=_encoded)))
        return
    to_stdout().print(_table(settings, groups), soft_wrap=True)
    if settings.sources is not None:
        to_stdout().print(_sources_table(settings), soft_wrap=True)
    to_stderr().print("limits and effects of each setting: docs/settings.md", style="dim")


def _written(source: Source) -> dict[str, str | int]:
    """Return a source by the keys of `[[source]]`, with defaults; only keys that apply."""
    mapping = source.mapping
    values: dict[str, str | int | None] = {
        "topic": source.topic,
        "audience": _AUDIENCES[source.kind],
        "key": source.form[1:-1] if source.kind is not LogKind.BROADCAST else None,
        "groups": source.groups,
        "type": None if mapping is None else mapping.type.text,
        "category": None if mapping is None or not mapping.category else mapping.category.text,
        "data": None if mapping is None else f"field:{mapping.data}" if mapping.data else "value",
        "format": source.format,
        "partitions": source.partitions,
    }
    return {name: value for name, value in values.items() if value}


def _sources_table(settings: Settings) -> Table:
    rows = [_written(source) for source in settings.event_sources]
    columns = [name for name in KEYS if any(name in row for row in rows)]
    table = plain_table(*columns, wrap=False)
    table.title, table.title_justify, table.title_style = "sources", "left", "bold"
    for row in rows:
        table.add_row(*(shown(str(row.get(name, "-"))) for name in columns))
    return table


def _table(settings: Settings, groups: Mapping[str, Mapping[str, str]]) -> Table:
    table = plain_table("setting", "value", "origin", wrap=False)
    for group, names in groups.items():
        if names:
            table.add_row(f"[bold]{group}[/]")
        for name, origin in names.items():
            value = shown(_text(_value(settings, name)))
            table.add_row(PREFIX + name.upper(), value, shown(origin))
    return table


def _text(value: Any) -> str:
    """Return a value as a variable of the environment has it; `-`: not set."""
    match value:
        case None | () | "":
            return "-"
        case bool():
            return str(value).lower()
        case float():
            return str(int(value)) if value.is_integer() else str(value)
        case (Issuer(), *_):
            return msgspec.json.encode(value, enc_hook=_encoded).decode()
        case tuple():
            return ",".join(map(str, value))
    return str(value)


def _encoded(value: Any) -> Any:
    """Return a provider as its fields that are set, and a network or path as text."""
    return value.model_dump(exclude_unset=True) if isinstance(value, Issuer) else str(value)


def _value(settings: Settings, name: str) -> Any:
    value = getattr(settings, name)
    return HIDDEN if name in SECRETS and value is not None else value
