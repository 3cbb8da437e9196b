"""`gateway conformance`: test whether clients can resume a server's streams."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from gateway.commands.console import AsJson, harmless, plain_table, shown, to_stderr, to_stdout
from gateway.commands.fields import with_fields
from gateway.conformance.case import Finding, exit_code, load_cases
from gateway.conformance.options import Limits, Options  # noqa: TC001 - read by with_fields
from gateway.conformance.publisher import Commands
from gateway.conformance.run import judge
from gateway.conformance.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.table import Table


_COLOURS = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.NOT_APPLICABLE: "dim"}


def _command(help_text: str) -> Any:
    return typer.Option(metavar="CMD", help=help_text, show_default=False)


@with_fields
def conformance(
    *,
    user: Annotated[
        str | None, typer.Option(metavar="ID", help="User id for the publish commands.")
    ] = None,
    publish: Annotated[
        str | None,
        _command(
            "Shell command that publishes one event; it gets $EVENT_TYPE, $EVENT_DATA,"
            " $EVENT_USER, and the data on standard input."
        ),
    ] = None,
    publish_lines: Annotated[
        str | None,
        _command("Command that runs throughout and reads one line of JSON for each event."),
    ] = None,
    publish_noise: Annotated[str | None, _command("Like --publish, for another user.")] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME: VALUE", help="Header of every request.", show_default=False),
    ] = None,
    options: Options,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="CASE", help="Run only this case; repeatable.", show_default=False),
    ] = None,
    limits: Limits,
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
        raise typer.BadParameter("name a command that publishes events: --publish CMD")
    unknown = set(only or ()) - {case.id for case in load_cases()}
    if unknown:
        raise typer.BadParameter(f"--only: unknown case {', '.join(sorted(unknown))}")
    options = options._replace(
        url=options.url if "://" in options.url else f"http://{options.url}",
        headers=tuple(_header(text) for text in header or ()),
        verify=not insecure,
        limits=limits,
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
        raise typer.BadParameter(f"write a header as NAME: VALUE, not {harmless(text)}")
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
    table = plain_table("case", "verdict", "seen", "requirement", "source")
    for case, verdict, seen, _ in findings:
        table.add_row(
            case.id,
            f"[{_COLOURS[verdict]}]{verdict}[/]",
            shown(seen),
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
