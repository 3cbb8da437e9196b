"""Lifelike activity: many stories at a time, merged into one endless row of events.

Every person lives through a shuffled deck of stories and begins it anew, so that each sees every
event type within a few minutes; the market moves under all of them, so that never a second is
silent; and now and then there is something for everybody. No clock and no chance of its own: the
caller waits the delays, and brings the `Random`.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, NamedTuple

from gateway.demo import stories
from gateway.demo.person import BANKS, Person

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

    from gateway.demo.stories import Beat, Payload, Story

ANNOUNCEMENT = "announcement"
"""A type that the registry does not know: it reaches the streams without a filter."""

_NEWS = (
    "Maintenance tonight from 02:00 to 02:10; your stream will resume by itself.",
    "New: the monthly report is here.",
    "Markets close early today.",
)


class Step(NamedTuple):
    """One event to publish, `delay` seconds after the step before; to everybody without a user."""

    delay: float
    user: str | None
    type: str
    data: Payload


class Activity:
    """The endless activity of `users`, different for each `rng`; iterate over it.

    At most a second lies between two steps.
    """

    def __init__(self, users: Sequence[str], rng: Random) -> None:
        self._people = [Person.make_up(user, rng) for user in users]
        self._rng = rng

    def __iter__(self) -> Iterator[Step]:
        """Merge all that goes on by the time at which it is due."""
        voices = [_life(person, self._rng) for person in self._people]
        voices += [_market(self._people, self._rng), _news(self._rng)]
        firsts = [(next(voice), voice) for voice in voices]
        due = [(step.delay, number, step, voice) for number, (step, voice) in enumerate(firsts)]
        heapq.heapify(due)
        now = 0.0
        while True:
            at, number, step, voice = due[0]
            yield step._replace(delay=at - now)
            now, following = at, next(voice)
            heapq.heapreplace(due, (now + following.delay, number, following, voice))


def _deck() -> list[Story]:
    """Return the stories of a life, each as often as it is likely: mostly, things go well."""
    return [
        *[stories.ask] * 5,
        *[stories.sync_accounts] * 2,
        *[stories.sync_transactions] * 3,
        *[stories.sync_holdings] * 3,
        *[stories.file_import] * 2,
        stories.token_renewed,
        stories.failing_sync("accounts"),
        stories.failing_sync("transactions"),
        stories.failing_sync("holdings"),
        stories.failing_import,
        stories.token_lost,
        stories.new_device,
        stories.break_in,
    ]


def _life(person: Person, rng: Random) -> Iterator[Step]:
    rest = 0.0
    deck = _deck()
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
