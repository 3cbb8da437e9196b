"""Every target, by its name."""

from __future__ import annotations

from tests.fuzz.batches import BATCH
from tests.fuzz.documents import REGISTRY, SETTINGS
from tests.fuzz.frames import FRAMES
from tests.fuzz.ids import EVENT_ID, RESUME
from tests.fuzz.records import PUBLISH, RECORD, REVOCATION
from tests.fuzz.requests import REQUEST
from tests.fuzz.tokens import KEY_SET, TOKEN

TARGETS = {
    target.name: target
    for target in (
        *(EVENT_ID, RESUME, RECORD, PUBLISH, REVOCATION, BATCH, FRAMES),
        *(REQUEST, TOKEN, KEY_SET, REGISTRY, SETTINGS),
    )
}
