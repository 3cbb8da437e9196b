"""All descriptions are valid, complete, and equal for every worker."""

from __future__ import annotations

from collections.abc import Callable

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

each = pytest.mark.parametrize("describe", EACH, ids=lambda describe: describe.__name__)
variants = pytest.mark.parametrize("variant", VARIANTS, ids=["defaults", "everything", "no topics"])


@variants
@pytest.mark.parametrize("describe", [of_requests, of_operations])
def test_the_openapi_validator_accepts_the_descriptions(
    describe: Callable[..., Json], variant: dict[str, object]
) -> None:
    validate(describe(**variant))


@each
@variants
def test_every_reference_has_a_target(
    describe: Callable[..., Json], variant: dict[str, object]
) -> None:
    document = describe(**variant)
    for reference in references(document):
        assert resolve(document, reference), reference


@each
def test_a_description_has_the_version_of_the_gateway(describe: Callable[..., Json]) -> None:
    assert describe()["info"]["version"] == __version__


@each
def test_equal_settings_give_equal_descriptions(describe: Callable[..., Json]) -> None:
    assert describe() == describe()
