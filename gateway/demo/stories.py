"""Stories of the demo: generators of a few related events in a plausible order.

A story takes all random values from the given `Random` and reads no clock: the same seed yields the
same story, and a test can run hours of activity at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from gateway.demo.person import Person

    Story = Callable[[Person, Random], Iterator["Beat"]]

Payload = dict[str, object]

MIN_CHUNKS = 8
MAX_CHUNKS = 30
"""Maximum chunks of one AI answer; every answer below has more words."""


class Beat(NamedTuple):
    """One event of a story, `pause` seconds after the previous one."""

    pause: float
    type: str
    data: Payload


_ANSWERS = (
    "Your net worth is {worth} today. {top} did most of the work this month, while your cash of"
    " {cash} stayed where it was. If you want to keep three months of spending at hand, you could"
    " move a little more from the portfolio into savings.",
    "I looked through the last ninety days. You spent less on travel and more on groceries than"
    " in spring, and two subscriptions were raised without notice. Together they cost about as much"
    " as one share of {top}. Shall I list them for you?",
    "At this pace you reach your goal eleven months early. That rests on {worth} growing by four"
    " percent a year, which is careful but not certain. I would look again in autumn, when {bank}"
    " changes its rates.",
    "{top} is now the largest part of your portfolio. That is not a problem in itself, but a bad"
    " week there would be felt everywhere. Spreading a tenth of it over the others would bring you"
    " back to the mix that you chose in January.",
)
_TOOLS = ("search_transactions", "read_balances", "compare_months", "project_net_worth")
_FILES = ("statement-march.csv", "broker-export.csv", "cards-2024.ofx", "household.qif")
_CITIES = ("Lisbon", "Tallinn", "Ghent", "Turin", "Aarhus", "Cork")
_DEVICES = ("Firefox on Linux", "Safari on iPhone", "Chrome on Windows", "the Android app")
_SYNC_TROUBLE = ("the bank timed out", "too many requests", "the bank is under maintenance")


def sync_accounts(person: Person, rng: Random) -> Iterator[Beat]:
    """Synchronize accounts and update the balance."""
    yield from _sync("accounts", person, rng, found=rng.randint(2, 6))
    yield balance(person, rng, pause=rng.uniform(0.1, 0.4))


def sync_transactions(person: Person, rng: Random) -> Iterator[Beat]:
    """Synchronize transactions, which may change the cash."""
    yield from _sync("transactions", person, rng, found=rng.randint(1, 48))
    person.cash = round(max(200.0, person.cash + rng.uniform(-180, 150)), 2)
    yield balance(person, rng, pause=rng.uniform(0.1, 0.4))


def sync_holdings(person: Person, rng: Random) -> Iterator[Beat]:
    """Synchronize holdings and update portfolio and net worth."""
    yield from _sync("holdings", person, rng, found=len(person.holdings))
    change = person.move_market(rng)
    top = max(person.holdings, key=lambda holding: holding.value)
    yield Beat(
        rng.uniform(0.2, 0.5),
        "portfolio.holdings.updated",
        {"holdings": len(person.holdings), "value": round(person.invested, 2), "top": top.symbol},
    )
    yield Beat(
        rng.uniform(0.1, 0.3),
        "portfolio.networth.updated",
        {"net_worth": round(person.worth, 2), "change": round(change, 2)},
    )


def failing_sync(subject: str) -> Story:
    """Return the story of a sync of `subject` that fails."""

    def story(person: Person, rng: Random) -> Iterator[Beat]:
        yield Beat(0, f"sync.{subject}.started", {"bank": person.bank})
        yield Beat(
            rng.uniform(0.6, 1.6),
            f"sync.{subject}.failed",
            {"bank": person.bank, "error": rng.choice(_SYNC_TROUBLE), "retry_in_s": 300},
        )

    return story


def token_renewed(person: Person, rng: Random) -> Iterator[Beat]:
    """Renew the consent for a bank in time."""
    yield Beat(0, "provider.token.expiring", {"bank": person.bank, "expires_in_s": 600})
    yield Beat(
        rng.uniform(0.8, 2.0), "provider.token.refreshed", {"bank": person.bank, "valid_days": 90}
    )


def token_lost(person: Person, rng: Random) -> Iterator[Beat]:
    """Fail to renew the consent; the bank is disconnected."""
    yield Beat(0, "provider.token.expiring", {"bank": person.bank, "expires_in_s": 60})
    yield Beat(
        rng.uniform(0.8, 1.6),
        "provider.token.failed",
        {"bank": person.bank, "error": "consent was withdrawn"},
    )
    yield Beat(
        rng.uniform(0.3, 0.8),
        "provider.disconnected",
        {"bank": person.bank, "action": "sign in at the bank again"},
    )


def ask(person: Person, rng: Random) -> Iterator[Beat]:
    """Run an assistant tool and stream its answer in chunks."""
    response = _identifier(rng)
    tool = rng.choice(_TOOLS)
    yield Beat(0, "ai.tool.executing", {"response_id": response, "tool": tool})
    top = max(person.holdings, key=lambda holding: holding.value)
    text = rng.choice(_ANSWERS).format(
        worth=f"{person.worth:,.0f} €",
        cash=f"{person.cash:,.0f} €",
        top=top.symbol,
        bank=person.bank,
    )
    words = text.split()
    count = rng.randint(MIN_CHUNKS, MAX_CHUNKS)
    for index in range(count):
        part = words[index * len(words) // count : (index + 1) * len(words) // count]
        yield Beat(
            rng.uniform(0.5, 0.9) if index == 0 else rng.uniform(0.03, 0.08),
            "ai.response.chunk",
            {"response_id": response, "index": index, "text": " ".join(part)},
        )
    yield Beat(
        0.1,
        "ai.response.complete",
        {"response_id": response, "chunks": count, "words": len(words)},
    )


def file_import(person: Person, rng: Random) -> Iterator[Beat]:
    """Import a file, with progress."""
    yield from _import(rng, steps=rng.randint(4, 8), fails=False)
    yield balance(person, rng, pause=0.2)


def failing_import(person: Person, rng: Random) -> Iterator[Beat]:
    """Import half of a file, then fail at an invalid row."""
    del person
    yield from _import(rng, steps=rng.randint(2, 4), fails=True)


def new_device(person: Person, rng: Random) -> Iterator[Beat]:
    """Start a session and announce its expiry."""
    del person
    session = _identifier(rng)
    yield Beat(
        0,
        "security.session.new",
        {"session_id": session, "device": rng.choice(_DEVICES), "city": rng.choice(_CITIES)},
    )
    yield Beat(
        rng.uniform(1.5, 3.0), "security.session.expiring", {"session_id": session, "in_s": 300}
    )


def break_in(person: Person, rng: Random) -> Iterator[Beat]:
    """Failed logins, a suspicious session, its revocation, and a password change."""
    del person
    session, city = _identifier(rng), rng.choice(_CITIES)
    for attempt in range(1, rng.randint(2, 4)):
        yield Beat(
            rng.uniform(0.4, 0.9), "security.login.failed", {"attempt": attempt, "city": city}
        )
    yield Beat(
        rng.uniform(0.5, 1.0),
        "security.session.suspicious",
        {"session_id": session, "city": city, "reason": "new country"},
    )
    yield Beat(
        rng.uniform(0.6, 1.2),
        "security.session.revoked",
        {"session_id": session, "by": "risk engine"},
    )
    yield Beat(rng.uniform(0.6, 1.2), "security.password.changed", {"by": "you"})


def balance(person: Person, rng: Random, pause: float) -> Beat:
    """Return the balance of a person after a market movement."""
    change = person.move_market(rng)
    return Beat(
        pause,
        "portfolio.balance.updated",
        {"balance": round(person.worth, 2), "change": round(change, 2)},
    )


def _sync(subject: str, person: Person, rng: Random, found: int) -> Iterator[Beat]:
    took = rng.uniform(0.6, 1.8)
    yield Beat(0, f"sync.{subject}.started", {"bank": person.bank})
    yield Beat(
        took,
        f"sync.{subject}.completed",
        {"bank": person.bank, subject: found, "took_ms": round(took * 1000)},
    )


def _import(rng: Random, steps: int, *, fails: bool) -> Iterator[Beat]:
    job, rows = _identifier(rng), rng.randint(120, 2_400)
    yield Beat(0, "import.started", {"import_id": job, "file": rng.choice(_FILES), "rows": rows})
    for step in range(1, steps + 1):
        done = step * rows // (steps + fails)
        yield Beat(
            rng.uniform(0.2, 0.5),
            "import.progress",
            {"import_id": job, "rows_done": done, "percent": done * 100 // rows},
        )
    if fails:
        error = f"row {done + 1}: the date cannot be read"
        yield Beat(0.3, "import.failed", {"import_id": job, "error": error})
    else:
        yield Beat(0.2, "import.completed", {"import_id": job, "rows": rows})


def _identifier(rng: Random) -> str:
    return f"{rng.getrandbits(32):08x}"
