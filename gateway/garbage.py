"""How seldom Python looks for cycles in a worker.

CPython counts the objects that it watches, and when there are 700 more than before it looks through
them for cycles; the survivors it looks through again later, and now and then everything there is.
aiokafka makes two such objects of each record that it unpacks, and all of a fetch live until it is
dispatched: taken for growth, they had modules and streams looked through again and again. Where
hardly any record is for a stream that was a third of all that a worker spent.
"""

from __future__ import annotations

import gc

NURSERY = 20_000
"""Watched objects more than at the last look that begin another one: a fetch of 10,000 records. To
look through so many takes a millisecond."""


def spare() -> None:
    """Look at what there is by now, most of which stays, for the last time; then look seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(NURSERY, *gc.get_threshold()[1:])
