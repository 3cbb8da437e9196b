"""A short run of every target with seeds, words and random bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.tools.fuzz import guided, mutation
from tests.tools.fuzz.target import SEPARATOR, Target
from tests.tools.fuzz.targets import TARGETS

SEED = 1
INPUTS = 200

every = pytest.mark.parametrize("target", TARGETS.values(), ids=list(TARGETS))


@every
def test_random_mutations_reveal_nothing(target: Target) -> None:
    tried = mutation.run(target, SEED, 0, INPUTS)
    assert tried.findings == ()
    assert tried.inputs == INPUTS


@every
@given(data=st.data())
@settings(
    max_examples=20, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
def test_random_pieces_reveal_nothing(target: Target, data: st.DataObject) -> None:
    words = [word for word in target.words if len(word) < 100]
    pieces = [*words, SEPARATOR, *(part for seed in target.seeds for part in seed.split(SEPARATOR))]
    piece = st.sampled_from(pieces) | st.binary(max_size=8)
    target.check(data.draw(st.lists(piece, max_size=8).map(b"".join)))


def _fails_for_b(data: bytes) -> None:
    assert b"b" not in data


BRITTLE = Target("brittle", _fails_for_b, [b"aaa"], [b"b"])


def test_the_first_finding_ends_a_run_and_is_kept() -> None:
    tried = mutation.run(BRITTLE, SEED, 0, INPUTS)
    (finding,) = tried.findings
    assert b"b" in finding.data
    assert finding.fault.startswith("AssertionError")
    assert tried.inputs < INPUTS
    assert mutation.run(BRITTLE, SEED, 0, INPUTS).findings == tried.findings, "the same again"


@pytest.mark.skipif(not guided.is_there(), reason="atheris is not installed")
def test_the_guided_engine_counts_its_inputs(tmp_path: Path) -> None:
    tried = guided.run(TARGETS["event id"], SEED, 1, tmp_path)
    assert tried.findings == ()
    assert tried.inputs > INPUTS
