from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.core import frame
from tests.core.crowd import Work
from tests.core.stage import Stage


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """Counts what the test's sinks and the framing of events do."""
    work = Work()
    original, original_events = frame.event, frame.events

    def event(event_id: bytes, body: bytes, *, chunked: bool) -> bytes:
        work.framed += 1
        return original(event_id, body, chunked=chunked)

    def events(
        before: bytes, after: bytes, entries: Sequence[bytes], bodies: Sequence[bytes]
    ) -> bytes:
        work.framed += len(bodies)
        return original_events(before, after, entries, bodies)

    monkeypatch.setattr(frame, "event", event)
    monkeypatch.setattr(frame, "events", events)
    return work


@pytest.fixture
def stage() -> Stage:
    """A stage that replays all that a crowd misses."""
    stage = Stage(max_events=10_000, warm_ms=0, heartbeat=30)
    stage.worker.open_logs()
    return stage
