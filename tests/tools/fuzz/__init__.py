"""Fuzzing: targets with invariants, engines that feed them, and attacks on a live worker."""
