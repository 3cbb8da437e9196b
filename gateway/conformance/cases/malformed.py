"""Ids that are none. A browser would send them again for ever, so an error is no answer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gateway.conformance.case import Case
from gateway.conformance.verdict import fail, not_applicable

if TYPE_CHECKING:
    from gateway.conformance.listener import Listener
    from gateway.conformance.trial import Trial

SOURCE = "clients.md#when-events-are-missing"
LONG = 4000

IDS: tuple[tuple[str, str, bytes], ...] = (
    ("garbage", "no id at all", b"!$%&/ no id"),
    ("uuid", "another system's id", b"f47ac10b-58cc-4372-a567-0e02b2c3d479"),
    ("number", "a number", b"-1"),
    ("long", f"an id of {LONG:,} characters", b"A" * LONG),
    ("non-ascii", "an id beyond ASCII, as a browser sends it", "ünïcödé-☃".encode()),
    ("not-utf-8", "bytes that are not UTF-8", b"\xff\xfe\x80"),
)


async def malformed(trial: Trial, text: bytes) -> str:
    witness = await trial.live()
    await trial.write(0)
    await trial.wait_for(witness, 1)
    listener = trial.listener()
    connection = await listener.ask(text)
    if connection.status != 200:
        fail(f"{connection.status}, at which an EventSource gives up for good")
    await trial.write(1)
    await trial.expect_live(listener)
    return _how(trial, listener, again=0 in trial.numbers(listener))


def _how(trial: Trial, listener: Listener, *, again: bool) -> str:
    if trial.gaps(listener):
        return "a gap is told"
    return "it begins at the beginning, and nothing is told" if again else "live, nothing is told"


async def null_in_header(trial: Trial) -> str:
    connection = await trial.listener().ask(b"a\0b")
    if connection.status >= 500:
        fail(f"{connection.status}")
    if connection.status not in {200, 400}:
        fail(f"{connection.status}, neither a stream nor a bad request")
    return "a stream" if connection.status == 200 else "400, as HTTP has it"


async def null_in_query(trial: Trial) -> str:
    if trial.options.id_param is None:
        not_applicable("it needs --id-param")
    listener = trial.listener()
    connection = await listener.ask(by_query="a\0b")
    if connection.status != 200:
        fail(f"{connection.status}, at which an EventSource gives up for good")
    await listener.listen(min(0.2, trial.limits.quiet_seconds))
    await trial.write(0)
    await trial.expect_live(listener)
    return _how(trial, listener, again=False)


CASES = (
    *(
        Case(
            f"malformed-{name}",
            f"For {what} there is a stream that tells a gap, or is live.",
            SOURCE,
            partial(malformed, text=text),
        )
        for name, what, text in IDS
    ),
    Case(
        "malformed-null",
        "NULL in the header is a bad request or a stream, and no error of the server.",
        "RFC 9110 §5.5",
        null_in_header,
    ),
    Case(
        "malformed-null-query",
        "For NULL in the query there is a stream that tells a gap, or is live.",
        SOURCE,
        null_in_query,
    ),
)
