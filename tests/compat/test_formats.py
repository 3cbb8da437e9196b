"""Event ids, statuses and revocations across releases, in both directions.

`commit_18b83c9.json` was written by the code of that commit: text and meaning of each. The other
direction runs the code of that commit from the repository's history.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.core.event_id import CursorEntry, encode, parse
from gateway.core.records import LogKind, OffsetPosition, Position, TimePosition
from gateway.fleet.status import Status, UnreadPartition, WorkerState, read_status, write_status
from gateway.revocation.record import Change, Revocation, read_change, write_value
from tests.compat.release import environment

RECORDED: dict[str, list[dict[str, Any]]] = json.loads(
    Path(__file__).with_name("commit_18b83c9.json").read_text(encoding="utf-8")
)
READ = Path(__file__).with_name("read_by_former.py")


def entry(found: dict[str, Any]) -> CursorEntry:
    position: Position = TimePosition(found["timestamp"])
    if found["offset"] is not None:
        position = OffsetPosition(found["offset"], found["timestamp"], found["seen"])
    return CursorEntry(
        LogKind(found["kind"]), bytes.fromhex(found["tag"]), found["partition"], position
    )


def revocation(found: dict[str, Any]) -> Revocation:
    return Revocation(found["user"].encode(), found["revoked_at"], found["expires_at"])


@pytest.mark.parametrize("found", RECORDED["ids"], ids=lambda found: found["id"][:16])
def test_former_id_is_the_same_cursor_and_the_same_text(found: dict[str, Any]) -> None:
    entries = [entry(each) for each in found["entries"]]
    assert parse(found["id"]) == entries
    assert encode(entries).decode() == found["id"]


@pytest.mark.parametrize("found", RECORDED["statuses"], ids=lambda found: found["key"])
def test_former_status_is_read_with_all_its_values(found: dict[str, Any]) -> None:
    status = read_status(found["key"].encode(), found["value"].encode())
    assert status is not None
    assert status.state == found["state"]
    written = json.loads(found["value"])
    read = json.loads(write_status(status))
    assert {name: read[name] for name in written} == written


@pytest.mark.parametrize("found", RECORDED["revocations"], ids=lambda found: found["key"])
def test_former_revocation_revokes_the_same(found: dict[str, Any]) -> None:
    key, value = found["key"].encode(), found["value"].encode()
    assert read_change(key, value, 0, 0) == Change(key, revocation(found))
    assert write_value(revocation(found)) == value


def test_former_release_reads_records_of_this_release() -> None:
    statuses = [
        Status(
            worker=f"host-{state}",
            number=3,
            state=state,
            version="9.9.9",
            partitions_unread=1,  # a field that the former release does not know
            unread_first=UnreadPartition("user-events", 2, "no leader"),
        )
        for state in WorkerState
    ]
    written = {
        "ids": [
            encode([entry(each) for each in found["entries"]]).decode() for found in RECORDED["ids"]
        ],
        "statuses": [[each.worker, write_status(each).decode()] for each in statuses],
        "revocations": [
            [found["key"], write_value(revocation(found)).decode()]
            for found in RECORDED["revocations"]
        ],
    }
    finished = subprocess.run(
        [sys.executable, str(READ)],
        input=json.dumps(written),
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    read = json.loads(finished.stdout)
    assert read["ids"] == [found["entries"] for found in RECORDED["ids"]]
    assert read["statuses"] == [
        {"worker": each.worker, "state": str(each.state), "version": "9.9.9"} for each in statuses
    ]
    assert read["revocations"] == [
        {name: found[name] for name in ("user", "revoked_at", "expires_at")}
        for found in RECORDED["revocations"]
    ]
