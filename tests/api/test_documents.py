"""What all descriptions have in common: they are valid, whole, and the same for every worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from openapi_spec_validator import validate

from gateway import __version__
from tests.api.described import (
    EACH,
    VARIANTS,
    Json,
    of_operations,
    of_requests,
    references,
    resolve,
)

if TYPE_CHECKING:
    from collections.abc import Callable

each = pytest.mark.parametrize("describe", EACH, ids=lambda describe: describe.__name__)
variants = pytest.mark.parametrize("variant", VARIANTS, ids=["defaults", "everything", "no topics"])


@variants
@pytest.mark.parametrize("describe", [of_requests, of_operations])
def test_the_validator_of_openapi_has_nothing_to_say(
    describe: Callable[..., Json], variant: dict[str, object]
) -> None:
    validate(describe(**variant))


@each
@variants
def test_every_reference_leads_somewhere(
    describe: Callable[..., Json], variant: dict[str, object]
) -> None:
    document = describe(**variant)
    for reference in references(document):
        assert resolve(document, reference), reference


@each
def test_it_says_which_version_it_is_of(describe: Callable[..., Json]) -> None:
    assert describe()["info"]["version"] == __version__


@each
def test_two_workers_with_the_same_settings_say_the_same(describe: Callable[..., Json]) -> None:
    assert describe() == describe()
