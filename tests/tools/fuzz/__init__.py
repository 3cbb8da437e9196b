"""Hostile input in quantity: targets with invariants, engines that feed them, and a live worker."""
