"""The cases of the suite, read from `cases.yaml`, and their findings."""

from __future__ import annotations

from enum import Enum
from importlib.resources import files
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from gateway.conformance.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

Need = Literal["token", "noise", "filter", "id-param", "expired-id", "end"]
"""An optional feature of the server or of the command line that a case depends on."""


class Phase(Enum):
    """The order of cases; each phase starts after the previous one."""

    PARALLEL = "parallel"
    """Side by side: the stream carries events of other cases too."""
    ALONE = "alone"
    """One after the other: a server's reaction may disturb other streams."""
    QUIET = "quiet"
    """After these, without events until the streams have sent a heartbeat."""
    LAST = "last"
    """The case may stop the server."""


class _Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of `cases.yaml`; an unknown field is an error."""


class Answer(_Data, frozen=True, rename={"first": "from", "last": "to"}):
    """A range of accepted statuses, with a header that these must carry."""

    first: int
    last: int
    header: str | None = None


class Exchange(_Data, frozen=True):
    """A request, and the answers that pass; the first range with the status decides.

    `token` replaces the user's token; None sends none.
    """

    answers: list[Answer]
    method: str = "GET"
    token: str | None = ""
    last_event_id: str | None = None


class Reconnect(_Data, frozen=True, rename={"where": "in"}):
    """A malformed id, `text` repeated or bytes in `hex`, and where the client sends it."""

    where: Literal["header", "query"]
    text: str = ""
    times: int = 1
    hex: str = ""

    @property
    def id(self) -> bytes:
        """The id as it is sent."""
        return bytes.fromhex(self.hex) or self.text.encode() * self.times


class EventData(_Data, frozen=True):
    """Data to publish and the data that a client must receive; `{TAG}` marks the run's event."""

    data: str
    arrives: str


class Case(_Data, frozen=True):
    """One requirement, its source, and the steps that judge it.

    A case with `exchange`, `reconnect` or `event` is judged by these data; any other one has a
    function in `gateway.conformance.cases`.
    """

    id: str
    requirement: str
    source: str
    phase: Phase
    steps: str
    needs: Need | None = None
    exchange: Exchange | None = None
    reconnect: Reconnect | None = None
    event: EventData | None = None


class Finding(NamedTuple):
    """The result of one case."""

    case: Case
    verdict: Verdict
    seen: str
    seconds: float


def load_cases() -> tuple[Case, ...]:
    """Return all cases, in the order of the table."""
    data = files("gateway.conformance").joinpath("cases.yaml").read_bytes()
    return msgspec.yaml.decode(data, type=tuple[Case, ...])


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 1 if a case failed, else 0."""
    return int(any(finding.verdict is Verdict.FAIL for finding in findings))
