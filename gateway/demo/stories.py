"""Stories of the demo: a few related events in a plausible order, most of them as a table.

A story takes all random values from the given `Random` and reads no clock: the same seed yields the
same story, and a test can run hours of activity at once.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    Story = Callable[["Person", Random], Iterator["Beat"]]

Payload = dict[str, object]

BANKS = ("Northern Savings", "Harbour Bank", "Alpine Credit", "Metro Invest", "Lighthouse Bank")

MIN_CHUNKS = 8
MAX_CHUNKS = 30
"""Maximum chunks of one AI answer; every answer below has more words."""


class Beat(NamedTuple):
    """One event of a story, `pause` seconds after the previous one."""

    pause: float
    type: str
    data: Payload


_ANSWERS = (
    "Your net worth is {balance:,.0f} € today. {top} did most of the work this month, while"
    " your cash stayed where it was. To keep three months of spending at hand, you could move"
    " a little more from the portfolio into savings.",
    "I looked through the last ninety days. You spent less on travel and more on groceries than"
    " in spring, and two subscriptions were raised without notice. Together they cost about as much"
    " as one share of {top}. Shall I list them for you?",
    "At this pace you reach your goal eleven months early. That rests on {balance:,.0f} € growing"
    " by four percent a year, which is careful but not certain. I would look again in autumn, when"
    " {bank} changes its rates.",
    "{top} is now the largest part of your portfolio. That is not a problem in itself, but a bad"
    " week there would be felt everywhere. Spreading a tenth of it over the others would bring you"
    " back to the mix that you chose in January.",
)

_TABLE = """
2  0    sync.accounts.started         bank
   1.2  sync.accounts.completed       bank accounts took_ms
   0.3  portfolio.balance.updated     balance change
3  0    sync.transactions.started     bank
   1.2  sync.transactions.completed   bank transactions took_ms
   0.3  portfolio.balance.updated     balance change
3  0    sync.holdings.started         bank
   1.2  sync.holdings.completed       bank holdings took_ms
   0.3  portfolio.holdings.updated    holdings value:balance top
   0.2  portfolio.networth.updated    net_worth:balance change
1  0    sync.accounts.started         bank
   1.1  sync.accounts.failed          bank error:trouble retry_in_s
1  0    sync.transactions.started     bank
   1.1  sync.transactions.failed      bank error:trouble retry_in_s
1  0    sync.holdings.started         bank
   1.1  sync.holdings.failed          bank error:trouble retry_in_s
1  0    provider.token.expiring       bank expires_in_s
   1.4  provider.token.refreshed      bank valid_days
1  0    provider.token.expiring       bank expires_in_s
   1.2  provider.token.failed         bank error:withdrawn
   0.5  provider.disconnected         bank action
1  0    security.session.new          session_id device city
   2.2  security.session.expiring     session_id in_s
1  0.6  security.login.failed         attempt city
   0.7  security.session.suspicious   session_id city reason
   0.9  security.session.revoked      session_id by
   0.9  security.password.changed     city
"""
"""Stories by their weight; for each event the pause before it, its type, and its payload.

A payload has the facts that are named, under their own name or another one (`name:fact`)."""


class Person:
    """A user of the demo: a bank, and a balance that changes a little from event to event."""

    def __init__(self, name: str, rng: Random) -> None:
        self.name = name
        self._bank = rng.choice(BANKS)
        self._balance = round(rng.uniform(2_000, 60_000), 2)

    def facts(self, rng: Random) -> Payload:
        """Return the facts of one story after a movement of the markets, by name."""
        before = self._balance
        self._balance = round(before * rng.uniform(0.996, 1.004), 2)
        return {
            "bank": self._bank,
            "balance": self._balance,
            "change": round(self._balance - before, 2),
            "accounts": rng.randint(2, 6),
            "transactions": rng.randint(1, 48),
            "holdings": rng.randint(3, 9),
            "top": rng.choice(("VWCE", "AAPL", "ASML", "NOVO", "SIE", "GOLD")),
            "took_ms": rng.randint(600, 1_800),
            "expires_in_s": 600,
            "valid_days": 90,
            "withdrawn": "consent was withdrawn",
            "action": "sign in at the bank again",
            "trouble": rng.choice(("the bank timed out", "too many requests")),
            "retry_in_s": 300,
            "session_id": _identifier(rng),
            "device": rng.choice(("Firefox on Linux", "Safari on iPhone", "the Android app")),
            "city": rng.choice(("Lisbon", "Tallinn", "Ghent", "Turin", "Aarhus", "Cork")),
            "in_s": 300,
            "attempt": rng.randint(1, 3),
            "reason": "new country",
            "by": "risk engine",
        }


def deck() -> list[Story]:
    """Return the stories of one round: most of them succeed."""
    told: list[list[list[str]]] = []
    stories: list[Story] = []
    for line in _TABLE.strip().splitlines():
        if line[0].isdigit():
            weight, line = line.split(maxsplit=1)
            told.append([])
            stories += [partial(_play, told[-1])] * int(weight)
        told[-1].append(line.split())
    imports = [partial(_import, fails=fails) for fails in (False, False, True)]
    return [*stories, *imports, *[_ask] * 5]


def balance(person: Person, rng: Random, pause: float) -> Beat:
    """Return the balance of a person after a movement of the markets."""
    facts = person.facts(rng)
    return Beat(
        pause, "portfolio.balance.updated", {name: facts[name] for name in ("balance", "change")}
    )


def _play(beats: list[list[str]], person: Person, rng: Random) -> Iterator[Beat]:
    facts = person.facts(rng)
    for pause, event_type, *names in beats:
        pairs = (name.partition(":") for name in names)
        data = {name: facts[fact or name] for name, _, fact in pairs}
        yield Beat(float(pause) * rng.uniform(0.6, 1.4), event_type, data)


def _ask(person: Person, rng: Random) -> Iterator[Beat]:
    """Run an assistant tool and stream its answer in chunks."""
    response = _identifier(rng)
    tool = rng.choice(("search_transactions", "read_balances", "project_net_worth"))
    yield Beat(0, "ai.tool.executing", {"response_id": response, "tool": tool})
    facts = person.facts(rng)
    words = rng.choice(_ANSWERS).format(**facts).split()
    count = rng.randint(MIN_CHUNKS, MAX_CHUNKS)
    for index in range(count):
        part = words[index * len(words) // count : (index + 1) * len(words) // count]
        yield Beat(
            rng.uniform(0.5, 0.9) if index == 0 else rng.uniform(0.03, 0.08),
            "ai.response.chunk",
            {"response_id": response, "index": index, "text": " ".join(part)},
        )
    complete = {"response_id": response, "chunks": count, "words": len(words)}
    yield Beat(0.1, "ai.response.complete", complete)


def _import(person: Person, rng: Random, *, fails: bool) -> Iterator[Beat]:
    """Import a file, with progress; or half of it, up to an invalid row."""
    job, rows, steps = _identifier(rng), rng.randint(120, 2_400), rng.randint(2, 8)
    file = rng.choice(("statement-march.csv", "broker-export.csv", "household.qif"))
    yield Beat(0, "import.started", {"import_id": job, "file": file, "rows": rows})
    for step in range(1, steps + 1):
        done = step * rows // (steps + fails)
        progress = {"import_id": job, "rows_done": done, "percent": done * 100 // rows}
        yield Beat(rng.uniform(0.2, 0.5), "import.progress", progress)
    if fails:
        error = f"row {done + 1}: the date cannot be read"
        yield Beat(0.3, "import.failed", {"import_id": job, "error": error})
    else:
        yield Beat(0.2, "import.completed", {"import_id": job, "rows": rows})
        yield balance(person, rng, pause=0.2)


def _identifier(rng: Random) -> str:
    return f"{rng.getrandbits(32):08x}"
