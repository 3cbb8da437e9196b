"""Reads ids, statuses and revocations with the code of the former release; see `test_formats`."""
# mypy: ignore-errors

import json
import sys

from gateway.core.log import Position
from gateway.core.revocation import read_change
from gateway.core.status import read_status

from gateway.core.event_id import parse


def entry(mark):
    place = mark.place
    found = {"kind": mark.kind.value, "tag": mark.tag.hex(), "partition": mark.partition}
    if not isinstance(place, Position):
        return {**found, "offset": None, "timestamp": place.timestamp}
    return {**found, "offset": place.offset, "timestamp": place.timestamp, "seen": place.seen}


def main():
    given = json.load(sys.stdin)
    statuses = [read_status(key.encode(), value.encode()) for key, value in given["statuses"]]
    changes = [
        read_change(key.encode(), value.encode(), 0, 0) for key, value in given["revocations"]
    ]
    json.dump(
        {
            "ids": [[entry(mark) for mark in parse(text)] for text in given["ids"]],
            "statuses": [
                {"worker": each.worker, "state": each.state.value, "version": each.version}
                for each in statuses
            ],
            "revocations": [
                {
                    "user": each.revocation.user.decode(),
                    "revoked_at": each.revocation.revoked_at,
                    "expires_at": each.revocation.expires_at,
                }
                for each in changes
            ],
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
