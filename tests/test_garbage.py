from __future__ import annotations

import gc

from gateway import garbage


def test_startup_objects_are_frozen_and_a_fetch_triggers_no_collection() -> None:
    before = gc.get_threshold()
    try:
        garbage.spare()
        assert gc.get_freeze_count() > 0
        looks = gc.get_stats()[0]["collections"]
        fetched = [[] for _ in range(garbage.NURSERY // 2)]  # type: ignore[var-annotated]
        assert gc.get_stats()[0]["collections"] == looks
        assert len(fetched) == garbage.NURSERY // 2
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
