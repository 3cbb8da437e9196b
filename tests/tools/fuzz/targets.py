"""Every target, by its name."""

from __future__ import annotations

from tests.tools.fuzz.batches import BATCH
from tests.tools.fuzz.documents import REGISTRY, SETTINGS
from tests.tools.fuzz.frames import FRAMES
from tests.tools.fuzz.ids import EVENT_ID, RESUME
from tests.tools.fuzz.records import PUBLISH, RECORD, REVOCATION
from tests.tools.fuzz.requests import REQUEST
from tests.tools.fuzz.sources import FILTER, SOURCES
from tests.tools.fuzz.tokens import KEY_SET, TOKEN

TARGETS = {
    target.name: target
    for target in (
        *(EVENT_ID, RESUME, RECORD, PUBLISH, REVOCATION, BATCH, FRAMES),
        *(REQUEST, TOKEN, KEY_SET, REGISTRY, SETTINGS, SOURCES, FILTER),
    )
}
