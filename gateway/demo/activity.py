"""Sample activity: concurrent stories of several users, merged into one endless sequence.

Each user plays a shuffled deck of stories and then reshuffles it, so every user sees every event
type within a few minutes. Market events fill each second, and broadcasts occur from time to time.
The module reads no clock: the caller waits for the delays and provides the `Random`.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

from gateway.demo import stories
from gateway.demo.stories import BANKS, Person

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

    from gateway.demo.stories import Beat, Payload

ANNOUNCEMENT = "announcement"
"""A type that the registry does not know: it reaches the streams without a filter."""

_NEWS = (
    "Maintenance tonight from 02:00 to 02:10; your stream will resume automatically.",
    "New: the monthly report is here.",
    "Markets close early today.",
)


class Step(NamedTuple):
    """An event to publish `delay` seconds after the previous one; a broadcast if user is None."""

    delay: float
    user: str | None
    type: str
    data: Payload


class Activity:
    """An endless iterable of steps for `users`, determined by `rng`; delays are at most 1 s."""

    def __init__(self, users: Sequence[str], rng: Random) -> None:
        self._people = [Person(user, rng) for user in users]
        self._rng = rng

    def __iter__(self) -> Iterator[Step]:
        """Yield the steps of all users, market and broadcasts in order of time."""
        sources = [_life(person, self._rng) for person in self._people]
        sources += [_market(self._people, self._rng), _news(self._rng)]
        firsts = [(next(source), source) for source in sources]
        due = [(step.delay, number, step, source) for number, (step, source) in enumerate(firsts)]
        heapq.heapify(due)
        now = 0.0
        while True:
            at, number, step, source = due[0]
            yield step._replace(delay=at - now)
            now, following = at, next(source)
            heapq.heapreplace(due, (now + following.delay, number, following, source))


def _life(person: Person, rng: Random) -> Iterator[Step]:
    rest = 0.0
    deck = stories.deck()
    while True:
        rng.shuffle(deck)
        for story in deck:
            for beat in story(person, rng):
                yield _step(person.name, beat, rest)
                rest = 0
            rest = rng.uniform(0.8, 3.0)


def _market(people: Sequence[Person], rng: Random) -> Iterator[Step]:
    while True:
        for person in people:
            yield _step(person.name, stories.balance(person, rng, pause=rng.uniform(0.6, 1.0)))


def _news(rng: Random) -> Iterator[Step]:
    pause = rng.uniform(3, 6)
    while True:
        bank = rng.choice(BANKS)
        yield Step(
            pause,
            None,
            "provider.disconnected",
            {"bank": bank, "action": "none, the bank is under maintenance"},
        )
        yield Step(rng.uniform(12, 25), None, ANNOUNCEMENT, {"text": rng.choice(_NEWS)})
        pause = rng.uniform(12, 25)


def _step(user: str, beat: Beat, rest: float = 0) -> Step:
    return Step(rest + beat.pause, user, beat.type, beat.data)
