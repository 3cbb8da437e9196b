"""A digest of all events and gaps that the clients of random histories receive."""

from __future__ import annotations

import hashlib

from gateway.core.registry import Registry
from tests.core.history import History
from tests.core.simulated_fleet import Profile

PROFILES = (Profile(removal=True, growth=True), Profile(removal=True, recreation=True))


def digest(seeds: int) -> str:
    """Return a hash of the events and gaps of every client."""
    seen = hashlib.sha256()
    registry = Registry.built_in()
    for seed in range(seeds):
        for profile in PROFILES:
            history = History(seed, profile, registry)
            history.run()
            for client in history.clients:
                seen.update(repr((client.received, client.gaps, client.last_id)).encode())
    return seen.hexdigest()
