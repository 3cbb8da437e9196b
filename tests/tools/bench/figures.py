"""Figures: what a round measures, beside whom, and what several rounds make of it."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, NamedTuple, Self

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GATEWAY = "gateway"
SOCKETS = "bare sockets"
"""A bare asyncio server: the least that Python can do for a connection, and for bytes to it."""
AIOKAFKA = "bare aiokafka"
"""A consumer that reads records and does nothing with them."""
NCHAN = "Nchan"


class Quantity(NamedTuple):
    """Something that a row measures, its unit, and whom it is measured of."""

    name: str
    unit: str
    whose: str = GATEWAY

    def of(self, whose: str) -> Quantity:
        """Return the same, measured of somebody else."""
        return self._replace(whose=whose)

    def over(self, other: str) -> Quantity:
        """Return how many times somebody else's the gateway's is."""
        return Quantity(self.name, "times", f"{GATEWAY} / {other}")


Sample = dict[Quantity, float]
"""What one round has measured."""


def beside(quantity: Quantity, values: Mapping[str, float]) -> Sample:
    """Return the quantity of everybody, the gateway among them, and its ratio to each other one."""
    others = {name: value for name, value in values.items() if name != GATEWAY}
    return {
        **{quantity.of(name): value for name, value in values.items()},
        **{quantity.over(name): values[GATEWAY] / value for name, value in others.items()},
    }


class Figure(msgspec.Struct):
    """A quantity over all rounds; `rounds` has its values in their order.

    `target` is the most that the median should be, and `of_target` how many times that it is.
    """

    name: str
    unit: str
    whose: str
    median: float
    min: float
    max: float
    rounds: list[float]
    target: float | None = None
    of_target: float | None = None

    @classmethod
    def of(cls, quantity: Quantity, values: list[float], target: float | None = None) -> Self:
        """Return the figure that these values make."""
        middle = median(values)
        part = None if target is None else middle / target
        return cls(*quantity, middle, min(values), max(values), values, target, part)


def figures(samples: Sequence[Sample], targets: Mapping[Quantity, float]) -> list[Figure]:
    """Return the figures of rounds that all measured the same quantities."""
    return [
        Figure.of(each, [sample[each] for sample in samples], targets.get(each))
        for each in samples[0]
    ]
