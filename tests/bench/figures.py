"""Figures: what a round measures, and what several rounds make of it."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, NamedTuple, Self

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence


class Quantity(NamedTuple):
    """Something that a row measures, and its unit."""

    name: str
    unit: str


Sample = dict[Quantity, float]
"""What one round has measured."""


class Figure(msgspec.Struct):
    """A quantity over all rounds; `rounds` has its values in their order."""

    name: str
    unit: str
    median: float
    min: float
    max: float
    rounds: list[float]

    @classmethod
    def of(cls, quantity: Quantity, values: list[float]) -> Self:
        """Return the figure that these values make."""
        return cls(*quantity, median(values), min(values), max(values), values)


def figures(samples: Sequence[Sample]) -> list[Figure]:
    """Return the figures of rounds that all measured the same quantities."""
    return [Figure.of(each, [sample[each] for sample in samples]) for each in samples[0]]
