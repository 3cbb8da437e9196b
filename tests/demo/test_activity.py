from __future__ import annotations

import json
from collections import defaultdict
from itertools import islice
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.registry import Registry
from gateway.demo.activity import ANNOUNCEMENT, Activity, Step
from gateway.demo.stories import MAX_CHUNKS, MIN_CHUNKS

USERS = ("alice", "bob", "carol", "dave")
TYPES = set(Registry.built_in().types)
A_FEW_MINUTES = 180.0

a_few = settings(max_examples=20)
"""Each seed generates thousands of events, so few examples suffice."""

seeds = st.integers(min_value=0, max_value=2**32)


def first_steps(seed: int, count: int = 2000) -> list[Step]:
    return list(islice(Activity(USERS, Random(seed)), count))


def events_of(user: str, steps: list[Step]) -> list[Step]:
    return [step for step in steps if step.user == user]


@a_few
@given(seeds)
def test_every_user_sees_every_type_within_a_few_minutes(seed: int) -> None:
    missing = {user: set(TYPES) for user in USERS}
    elapsed = 0.0
    for step in Activity(USERS, Random(seed)):
        elapsed += step.delay
        assert elapsed < A_FEW_MINUTES, f"still missing: {missing}"
        if step.user is not None:
            missing[step.user].discard(step.type)
        if not any(missing.values()):
            return


@a_few
@given(seeds)
def test_delays_are_between_0_and_1_s(seed: int) -> None:
    assert all(0 <= step.delay <= 1 for step in first_steps(seed))


@a_few
@given(seeds)
def test_every_payload_is_non_empty_json(seed: int) -> None:
    for step in first_steps(seed, 500):
        assert step.data
        assert json.loads(json.dumps(step.data)) == step.data


@a_few
@given(seeds)
def test_broadcasts_have_a_registered_and_an_unregistered_type(seed: int) -> None:
    broadcasts = [step.type for step in first_steps(seed) if step.user is None]
    assert set(broadcasts) == {"provider.disconnected", ANNOUNCEMENT}
    assert ANNOUNCEMENT not in TYPES


@pytest.mark.parametrize(
    ("begin", "ends"),
    [
        ("sync.accounts.started", {"sync.accounts.completed", "sync.accounts.failed"}),
        ("sync.transactions.started", {"sync.transactions.completed", "sync.transactions.failed"}),
        ("sync.holdings.started", {"sync.holdings.completed", "sync.holdings.failed"}),
        ("provider.token.expiring", {"provider.token.refreshed", "provider.token.failed"}),
        ("import.started", {"import.completed", "import.failed"}),
        ("ai.tool.executing", {"ai.response.complete"}),
    ],
)
@a_few
@given(seed=seeds)
def test_a_story_ends_before_the_next_of_its_kind_begins(
    begin: str, ends: set[str], seed: int
) -> None:
    for user in USERS:
        open_stories = 0
        for step in events_of(user, first_steps(seed)):
            if step.type == begin:
                open_stories += 1
            elif step.type in ends:
                open_stories -= 1
            assert open_stories in {0, 1}


@a_few
@given(seeds)
def test_an_answer_has_numbered_chunks_and_their_count(seed: int) -> None:
    chunks: defaultdict[object, list[object]] = defaultdict(list)
    for step in first_steps(seed):
        response = step.data.get("response_id")
        if step.type == "ai.response.chunk":
            assert step.data["text"]
            chunks[response].append(step.data["index"])
        elif step.type == "ai.response.complete":
            assert chunks[response] == list(range(len(chunks[response])))
            assert MIN_CHUNKS <= len(chunks[response]) <= MAX_CHUNKS
            assert step.data["chunks"] == len(chunks[response])


@a_few
@given(seeds)
def test_import_progress_never_decreases(seed: int) -> None:
    done: dict[object, int] = {}
    for step in first_steps(seed):
        if step.type == "import.progress":
            percent = step.data["percent"]
            assert isinstance(percent, int)
            assert done.get(step.data["import_id"], 0) <= percent <= 100
            done[step.data["import_id"]] = percent


def test_the_same_seed_yields_the_same_activity() -> None:
    assert first_steps(7) == first_steps(7)
    assert first_steps(7) != first_steps(8)


def test_activity_of_one_user_never_pauses_for_long() -> None:
    steps = islice(Activity(["alice"], Random(1)), 2000)
    assert all(step.delay <= 1 for step in steps)
