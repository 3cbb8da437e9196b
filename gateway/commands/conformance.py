"""`gateway conformance`: test whether clients can resume a server's streams."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from gateway.commands.console import AsJson, harmless, to_stderr, to_stdout
from gateway.conformance.case import Finding, exit_code
from gateway.conformance.options import Limits, Options
from gateway.conformance.publisher import Commands
from gateway.conformance.run import judge
from gateway.conformance.verdict import Verdict
from gateway.errors import ConformanceError

if TYPE_CHECKING:
    from collections.abc import Iterable


_LIMITS = Limits()
_COLOURS = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.NOT_APPLICABLE: "dim"}

Command = Annotated[
    str | None,
    typer.Option(
        metavar="CMD",
        help="Shell command that publishes one event; it gets $EVENT_TYPE, $EVENT_DATA,"
        " $EVENT_USER, and the data on standard input.",
        show_default=False,
    ),
]


def conformance(
    url: Annotated[str, typer.Argument(metavar="URL", help="URL of the stream.")],
    token: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="Bearer token of the user.")
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar="ID", help="User id for the publish commands.")
    ] = None,
    publish: Command = None,
    publish_lines: Annotated[
        str | None,
        typer.Option(
            metavar="CMD",
            help="Command that runs throughout and reads one line of JSON for each event.",
            show_default=False,
        ),
    ] = None,
    publish_noise: Annotated[
        str | None,
        typer.Option(metavar="CMD", help="Like --publish, for another user.", show_default=False),
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME: VALUE", help="Header of every request.", show_default=False),
    ] = None,
    event_type: Annotated[
        str, typer.Option("--type", metavar="TYPE", help="Type of the events.")
    ] = "conformance",
    filter_query: Annotated[
        str | None,
        typer.Option(
            "--filter",
            metavar="QUERY",
            help="Query string that selects --type and excludes --other-type.",
            show_default=False,
        ),
    ] = None,
    other_type: Annotated[
        str | None, typer.Option(metavar="TYPE", help="See --filter.", show_default=False)
    ] = None,
    id_param: Annotated[
        str,
        typer.Option(metavar="NAME", help="Query parameter for the id; empty: none."),
    ] = "Last-Event-ID",
    gap_type: Annotated[
        str, typer.Option(metavar="TYPE", help="Type of the gap event; empty: none.")
    ] = "stream.gap",
    close_type: Annotated[
        str,
        typer.Option(
            metavar="TYPE",
            help="Type of the closing event; empty: none.",
        ),
    ] = "stream.close",
    expired_id: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Event id that has expired.", show_default=False),
    ] = None,
    drain: Annotated[
        str | None,
        typer.Option(
            metavar="CMD", help="Command that makes the server end its streams.", show_default=False
        ),
    ] = None,
    max_age: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="Age at which the server ends a stream.", show_default=False
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="CASE", help="Run only this case; repeatable.", show_default=False),
    ] = None,
    event_seconds: Annotated[
        float, typer.Option(min=0.05, help="Timeout of an event.")
    ] = _LIMITS.event_seconds,
    quiet_seconds: Annotated[
        float, typer.Option(min=0.05, help="How long to wait for events that must not arrive.")
    ] = _LIMITS.quiet_seconds,
    heartbeat_seconds: Annotated[
        float, typer.Option(min=0.05, help="Longest silence of a stream.")
    ] = _LIMITS.heartbeat_seconds,
    slow_seconds: Annotated[
        float, typer.Option(min=0.05, help="How long the slow reader pauses.")
    ] = _LIMITS.slow_seconds,
    burst_events: Annotated[
        int, typer.Option(min=20, max=800, help="Maximum events of a burst.")
    ] = _LIMITS.burst_events,
    parallel: Annotated[int, typer.Option(min=1, max=16, help="Cases run concurrently.")] = (
        _LIMITS.parallel
    ),
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Accept any server certificate.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run the conformance cases for resumable streams against any server.

    The given commands publish the events: --publish, or --publish-lines, or both. The exit code is
    1 if a case failed or no case could run.
    """
    if publish is None and publish_lines is None:
        raise typer.BadParameter("events have to come from somewhere: --publish CMD")
    options = Options(
        url=url if "://" in url else f"http://{url}",
        token=token,
        headers=tuple(_header(text) for text in header or ()),
        event_type=event_type,
        other_type=other_type,
        filter_query=filter_query,
        id_param=id_param or None,
        gap_type=gap_type or None,
        close_type=close_type or None,
        expired_id=expired_id,
        drain=drain,
        max_age_seconds=max_age,
        verify=not insecure,
        limits=Limits(
            event_seconds=event_seconds,
            quiet_seconds=quiet_seconds,
            heartbeat_seconds=heartbeat_seconds,
            slow_seconds=slow_seconds,
            burst_events=burst_events,
            parallel=parallel,
        ),
    )
    commands = Commands(publish, publish_lines, user)
    findings = asyncio.run(_judge(options, commands, publish_noise, only or []))
    if as_json:
        typer.echo(json.dumps({"cases": [_facts(finding) for finding in findings]}, indent=2))
    else:
        to_stdout().print(findings_table(findings))
    raise typer.Exit(exit_code(findings))


async def _judge(
    options: Options, commands: Commands, noise: str | None, only: list[str]
) -> list[Finding]:
    async with commands:
        with to_stderr().status("running the cases") as status:
            return await judge(
                options,
                commands,
                noise=None if noise is None else Commands(noise, None, None),
                only=only,
                run=secrets.token_hex(4),
                done=lambda finding: status.update(f"done: {finding.case.id}"),
            )


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not text.isprintable():
        raise ConformanceError(f"write a header as NAME: VALUE, not {harmless(text)}")
    return name.strip(), value.strip()


def _facts(finding: Finding) -> dict[str, object]:
    return {
        "case": finding.case.id,
        "says": finding.case.requirement,
        "source": finding.case.source,
        "verdict": finding.verdict,
        "seen": finding.seen,
        "seconds": round(finding.seconds, 2),
    }


def findings_table(findings: Iterable[Finding]) -> Table:
    """Return a row for each case, then the number of cases with each verdict."""
    findings = list(findings)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("case", "verdict", "seen", "requirement", "source"):
        table.add_column(heading)
    for case, verdict, seen, _ in findings:
        table.add_row(
            case.id,
            f"[{_COLOURS[verdict]}]{verdict}[/]",
            escape(harmless(seen)),
            escape(case.requirement),
            case.source,
        )
    counts = [
        f"{sum(finding.verdict is verdict for finding in findings)} {verdict}"
        for verdict in Verdict
    ]
    table.add_section()
    table.add_row(f"{len(findings)} cases", ", ".join(counts))
    return table
