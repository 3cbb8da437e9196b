"""The frequency of Python's garbage collection in a worker.

CPython counts tracked objects and starts a collection after 700 more allocations than frees. It
scans the survivors again in later collections, and sometimes all objects. aiokafka creates two
tracked objects per record, and all objects of a fetch live until the records are dispatched.
CPython took them for growth, and scanned modules and streams again and again. With few records for
open streams that cost a third of the CPU of a worker.
"""

from __future__ import annotations

import gc

NURSERY = 20_000
"""Allocations that start a collection: a fetch of 10,000 records. Scanning this many takes 1 ms."""


def spare() -> None:
    """Freeze start-up objects and raise the threshold of the garbage collector."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(NURSERY, *gc.get_threshold()[1:])
