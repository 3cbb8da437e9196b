"""The limit of open files, and the part of it that clients may use."""

from __future__ import annotations

import math
import resource

RESERVED_FILES = 64
"""File descriptors that the public listener leaves to Kafka, operations and files; an eighth of the
limit where that is less. The kernel gives out the lowest free number, so the number of an accepted
socket shows how many are in use."""


def files_for_clients() -> float:
    """Return the number of file descriptors up to which clients are accepted."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if limit < 0 else limit - min(RESERVED_FILES, limit // 8)
