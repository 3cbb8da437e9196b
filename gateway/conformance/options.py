"""Options of a run: the server's address and names, and time limits.

A field with a `typer.Option` is an option of `gateway conformance`, with that text.
"""

from typing import Annotated, Any, NamedTuple

import typer


def _option(help_text: str, metavar: str, *names: str) -> Any:
    return typer.Option(*names, metavar=metavar, help=help_text, show_default=False)


class Limits(NamedTuple):
    """Bounds of a run; all but the counts in seconds."""

    event_seconds: Annotated[float, typer.Option(min=0.05, help="Timeout of an event.")] = 5.0
    """Also for the head of a response."""
    quiet_seconds: Annotated[
        float, typer.Option(min=0.05, help="How long to wait for events that must not arrive.")
    ] = 1.0
    heartbeat_seconds: Annotated[
        float, typer.Option(min=0.05, help="Longest silence of a stream.")
    ] = 35.0
    slow_seconds: Annotated[
        float, typer.Option(min=0.05, help="How long the slow reader pauses.")
    ] = 3.0
    burst_seconds: float = 10.0
    """Limit for a burst; a slow publisher sends fewer events."""
    burst_events: Annotated[
        int, typer.Option(min=20, max=800, help="Maximum events of a burst.")
    ] = 120
    large_bytes: int = 200_000
    """Size of the largest event."""
    slow_bytes: int = 60_000
    """Size of each event of the slow reader's burst."""
    parallel: Annotated[int, typer.Option(min=1, max=16, help="Cases run concurrently.")] = 4

    @property
    def case_seconds(self) -> float:
        """Time limit of one case."""
        return 40 + 6 * self.event_seconds + 2 * self.burst_seconds + self.slow_seconds


class Options(NamedTuple):
    """Address, user and names of the server; None or empty means not supported."""

    url: Annotated[str, typer.Argument(metavar="URL", help="URL of the stream.")]
    token: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="Bearer token of the user.")
    ] = None
    headers: tuple[tuple[str, str], ...] = ()
    event_type: Annotated[
        str, typer.Option("--type", metavar="TYPE", help="Type of the events.")
    ] = "conformance"
    other_type: Annotated[str | None, _option("See --filter.", "TYPE")] = None
    """A type that `filter_query` excludes."""
    filter_query: Annotated[
        str | None,
        _option("Query string that selects --type and excludes --other-type.", "QUERY", "--filter"),
    ] = None
    id_param: Annotated[
        str, typer.Option(metavar="NAME", help="Query parameter for the id; empty: none.")
    ] = "Last-Event-ID"
    gap_type: Annotated[
        str, typer.Option(metavar="TYPE", help="Type of the gap event; empty: none.")
    ] = "stream.gap"
    close_type: Annotated[
        str, typer.Option(metavar="TYPE", help="Type of the closing event; empty: none.")
    ] = "stream.close"
    expired_id: Annotated[str | None, _option("Event id that has expired.", "ID")] = None
    drain: Annotated[
        str | None, _option("Command that makes the server end its streams.", "CMD")
    ] = None
    max_age_seconds: Annotated[
        float | None, _option("Age at which the server ends a stream.", "SECONDS", "--max-age")
    ] = None
    verify: bool = True
    limits: Limits = Limits()
