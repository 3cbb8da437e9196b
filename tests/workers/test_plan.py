from __future__ import annotations

import pytest

from gateway.config import load_settings
from gateway.errors import SettingsError
from gateway.settings.setting_types import MAX_WORKERS, usable_cores
from gateway.workers.expositions import merged
from gateway.workers.plan import (
    WorkerState,
    fixed_changes,
    owner,
    readiness,
)
from tests.tokens import SECRET

STARTING = {"reason": "starting", "detail": "the worker has not reached Kafka yet"}


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
def test_every_partition_has_one_owner_and_shares_differ_by_one_at_most(workers: int) -> None:
    owned = [owner(partition, workers) for partition in range(24)]
    shares = [owned.count(slot) for slot in range(workers)]
    assert sum(shares) == 24
    assert max(shares) - min(shares) <= 1


def test_settings_of_the_supervisor_itself_are_not_reloaded() -> None:
    former = load_settings(None, jwt_secret=SECRET)
    assert fixed_changes(former, load_settings(None, jwt_secret=SECRET, retry_ms=1)) == ""
    changed = load_settings(None, jwt_secret=SECRET, listen="127.0.0.1:1", workers=2)
    assert fixed_changes(former, changed) == "GATEWAY_LISTEN, GATEWAY_WORKERS"


def test_machine_is_ready_while_one_worker_is_and_names_the_reasons_of_the_others() -> None:
    ready = WorkerState(0, "a-1", ready=True, up=True)
    starting = WorkerState(1, "a-2", ready=False, up=False, reasons=[STARTING])
    report = readiness([ready, starting], stopping=False)
    assert report["ready"] is True
    assert report["reasons"] == [{**STARTING, "worker": "a-2"}]
    assert readiness([starting], stopping=False)["ready"] is False
    assert readiness([ready], stopping=True)["ready"] is False
    assert readiness([], stopping=False)["reasons"]


def test_number_of_workers_is_a_number_or_the_cores() -> None:
    assert load_settings(None).workers == 1
    assert load_settings(None, workers="auto").workers == min(usable_cores(), MAX_WORKERS)
    assert load_settings(None, workers="3").workers == 3
    for wrong in ("0", "-1", "many", "", 257, 1.5, True):
        with pytest.raises(SettingsError, match="GATEWAY_WORKERS"):
            load_settings(None, workers=wrong)


def test_connections_with_tls_cannot_be_handed_over() -> None:
    tls = {"tls_certfile": "a.pem", "tls_keyfile": "a.key"}
    load_settings(None, sharding="handover", workers=1, **tls)
    with pytest.raises(SettingsError, match="end TLS at a proxy"):
        load_settings(None, sharding="handover", workers=2, **tls)


FIRST = """\
# HELP events_total Events
# TYPE events_total counter
events_total 3.0
# HELP lag_records Lag
# TYPE lag_records gauge
lag_records{topic="a",partition="0"} 1.0
empty{} 2.0
"""

SECOND = """\
# HELP events_total Events
# TYPE events_total counter
events_total 4.0
# HELP late_seconds Late
# TYPE late_seconds histogram
late_seconds_bucket{le="0.1"} 2.0 # {trace_id="x y"} 0.05
# EOF
"""


def test_samples_of_all_workers_stand_together_with_their_worker() -> None:
    assert merged({"0": FIRST, "1": SECOND}, "# TYPE own gauge\nown 1\n") == (
        "# TYPE own gauge\nown 1\n"
        "# HELP events_total Events\n# TYPE events_total counter\n"
        'events_total{worker="0"} 3.0\nevents_total{worker="1"} 4.0\n'
        "# HELP lag_records Lag\n# TYPE lag_records gauge\n"
        'lag_records{worker="0",topic="a",partition="0"} 1.0\n'
        'empty{worker="0"} 2.0\n'
        "# HELP late_seconds Late\n# TYPE late_seconds histogram\n"
        'late_seconds_bucket{worker="1",le="0.1"} 2.0 # {trace_id="x y"} 0.05\n'
        "# EOF\n"
    )
