"""Quantities of a round, compared servers, and figures over several rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from statistics import median
from typing import NamedTuple, Self

import msgspec

GATEWAY = "gateway"
SOCKETS = "bare sockets"
"""A bare asyncio server: the minimum for a connection and its bytes in Python."""
AIOKAFKA = "bare aiokafka"
"""A consumer that reads and discards records."""
NCHAN = "Nchan"


class Quantity(NamedTuple):
    """A measured quantity, its unit, and the measured server."""

    name: str
    unit: str
    whose: str = GATEWAY

    def of(self, whose: str) -> Quantity:
        """Return the same quantity of another server."""
        return self._replace(whose=whose)

    def over(self, other: str) -> Quantity:
        """Return the ratio of the gateway's value to another server's."""
        return Quantity(self.name, "times", f"{GATEWAY} / {other}")


Sample = dict[Quantity, float]
"""The values of one round."""


def beside(quantity: Quantity, values: Mapping[str, float]) -> Sample:
    """Return the quantity of every server, and the gateway's ratio to each other one."""
    others = {name: value for name, value in values.items() if name != GATEWAY}
    return {
        **{quantity.of(name): value for name, value in values.items()},
        **{quantity.over(name): values[GATEWAY] / value for name, value in others.items()},
    }


class Figure(msgspec.Struct):
    """A quantity over all rounds; `rounds` has its values in their order.

    `target` is the upper bound of the median, and `of_target` the median divided by it.
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
        """Return the figure of these values."""
        middle = median(values)
        part = None if target is None else middle / target
        return cls(*quantity, middle, min(values), max(values), values, target, part)


def figures(samples: Sequence[Sample], targets: Mapping[Quantity, float]) -> list[Figure]:
    """Return the figure of each quantity over the rounds that have it."""
    quantities = dict.fromkeys(chain.from_iterable(samples))
    return [
        Figure.of(each, [sample[each] for sample in samples if each in sample], targets.get(each))
        for each in quantities
    ]
