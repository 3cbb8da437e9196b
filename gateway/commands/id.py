"""`gateway id`: decode an event id and predict a resume from it."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from itertools import repeat
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.commands.console import ConfigFile, plain_table, to_stderr, to_stdout
from gateway.commands.resume import foretell, look_up, misfit, topic_of
from gateway.config import load_settings
from gateway.core.event_id import CursorEntry, parse
from gateway.core.records import OffsetPosition
from gateway.errors import BrokerError
from gateway.kafka.client.options import connection_options
from gateway.kafka.diagnosis import missing_right
from gateway.kafka.probe import probe
from gateway.kafka.topics import describe

if TYPE_CHECKING:
    from rich.table import Table

    from gateway.config import Settings

KAFKA_SECONDS = 2.0
"""Kafka timeout. Short: an operator waits, and most of the output needs no Kafka."""


def read_id(
    event_id: Annotated[str, typer.Argument(metavar="ID", help="Event id, as in the id: field.")],
    bootstrap: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Kafka to query; default: as in the settings."),
    ] = None,
    kafka: Annotated[bool, typer.Option("--kafka/--no-kafka", help="Query Kafka.")] = True,
    config: ConfigFile = None,
) -> None:
    """Decode an event id and predict the result of a resume from it."""
    marks = parse(event_id)
    settings = load_settings(config)
    verdicts: list[str] = []
    if kafka:
        options = connection_options(settings)
        if bootstrap is not None:
            options["bootstrap_servers"] = bootstrap.split(",")
        try:
            verdicts = asyncio.run(_verdicts(marks, settings, options))
        except BrokerError as error:
            to_stderr().print(f"cannot predict a resume: {error}", style="yellow")
    to_stdout().print(_table(marks, verdicts, settings))


async def _verdicts(
    marks: list[CursorEntry], settings: Settings, options: dict[str, Any]
) -> list[str]:
    names = [source.topic for source in settings.event_sources]
    cluster = await describe(options, names, KAFKA_SECONDS)
    for name in cluster.denied:
        raise BrokerError(*missing_right("Read", name, options))
    topics = {mark: topic_of(mark, settings, cluster) for mark in marks}
    verdicts = {mark: misfit(mark, topic) for mark, topic in topics.items()}
    if None in verdicts.values():
        now = time.time_ns() // 1_000_000
        async with probe(options, KAFKA_SECONDS) as looking:
            for mark, topic in topics.items():
                if topic is not None and verdicts[mark] is None:
                    facts = await look_up(mark, topic, settings, looking, now)
                    verdicts[mark] = foretell(mark, facts, settings.replay_max_records)
    return [verdict or "" for verdict in verdicts.values()]


def _table(marks: list[CursorEntry], verdicts: list[str], settings: Settings) -> Table:
    headings = ("log", "partition", "next offset", "time", "of", "topic tag", "a resume")
    table = plain_table(*headings[: None if verdicts else -1])
    for mark, verdict in zip(marks, verdicts or repeat(None), strict=False):
        table.add_row(
            _log_of(mark, settings),
            str(mark.partition),
            str(mark.position.offset) if isinstance(mark.position, OffsetPosition) else "by time",
            f"{datetime.fromtimestamp(mark.position.timestamp / 1000).astimezone():%F %T}",
            _meaning(mark),
            mark.tag.hex(),
            *filter(None, [verdict]),
        )
    return table


def _log_of(mark: CursorEntry, settings: Settings) -> str:
    """Return the kind of the log, or in version 2 its topic if that is configured."""
    if mark.kind is not None:
        return mark.kind
    names = (source.topic for source in settings.event_sources if source.mark == mark.mark)
    return next(names, "another topic")


def _meaning(mark: CursorEntry) -> str:
    """Return the event that the time of a mark refers to."""
    if not isinstance(mark.position, OffsetPosition):
        return "the first record to come"
    if mark.position.seen:
        return "the previous record, which identifies the topic"
    return "the position; the previous record is unknown"
