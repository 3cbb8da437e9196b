from __future__ import annotations

import pytest

from tests.programs import require

MISSING = "no-such-program"


def test_installed_program_does_not_skip_the_test() -> None:
    require("sh")


def test_without_a_program_a_test_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"{MISSING} not installed"):
        require("sh", MISSING)


@pytest.mark.parametrize(
    ("in_ci", "outcome"), [(True, pytest.fail.Exception), (False, pytest.skip.Exception)]
)
def test_where_all_has_to_be_proven_it_fails_unless_it_may_be_missing(
    monkeypatch: pytest.MonkeyPatch, in_ci: bool, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", "1")
    with pytest.raises(outcome, match=MISSING):
        require(MISSING, in_ci=in_ci)
