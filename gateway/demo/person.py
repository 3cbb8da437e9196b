"""A demo user with a name, accounts, and holdings whose prices change plausibly.

The numbers only have to look right on a screen; they are kept from event to event, so that a
balance never jumps between two updates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

BANKS = ("Northern Savings", "Harbour Bank", "Alpine Credit", "Metro Invest", "Lighthouse Bank")

_PRICES = {"VWCE": 128.4, "AAPL": 231.1, "ASML": 702.5, "NOVO": 98.7, "SIE": 184.2, "GOLD": 61.3}


@dataclass(slots=True)
class Holding:
    """A number of shares of one security, and the current price of a share."""

    symbol: str
    shares: int
    price: float

    @property
    def value(self) -> float:
        """Value of all shares."""
        return self.shares * self.price


@dataclass(slots=True)
class Person:
    """One user of the demo, with cash and holdings."""

    name: str
    bank: str
    cash: float
    holdings: list[Holding]

    @classmethod
    def make_up(cls, name: str, rng: Random) -> Person:
        """Return a person called `name` with random accounts and holdings."""
        papers = rng.sample(sorted(_PRICES), k=4)
        return cls(
            name=name,
            bank=rng.choice(BANKS),
            cash=round(rng.uniform(1_500, 24_000), 2),
            holdings=[Holding(paper, rng.randint(5, 90), _PRICES[paper]) for paper in papers],
        )

    @property
    def invested(self) -> float:
        """Value of the holdings."""
        return sum(holding.value for holding in self.holdings)

    @property
    def worth(self) -> float:
        """Value of cash and holdings."""
        return self.cash + self.invested

    def move_market(self, rng: Random) -> float:
        """Change prices by up to 0.4 %; return the change of the value of all holdings."""
        before = self.invested
        for holding in self.holdings:
            holding.price = round(holding.price * rng.uniform(0.996, 1.004), 2)
        return self.invested - before
