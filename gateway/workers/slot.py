"""The slot of a worker process, with the sockets to its siblings."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from gateway.http.transport.handover import Handover
from gateway.workers.plan import owner

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.workers.messages import Assignment


class Slot:
    """The place of a worker process on its machine; it owns the sockets of its assignment."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self.name = assignment.name
        self.ops_url = assignment.ops_url
        self.patient = assignment.patient
        self.listening = _sockets(assignment.listening)

    def handover(
        self, partition: Callable[[bytes], int | None], sent: Callable[[int], None]
    ) -> Handover | None:
        """Return the handover of connections to the slots of their partitions; None: it is off.

        `partition` returns the partition of a user, None: not known yet; `sent` counts handovers.
        """
        given = self._assignment
        if given.settings.sharding == "off":
            return None

        def owner_of(user: bytes) -> int | None:
            found = partition(user)
            return None if found is None else owner(found, given.slots)

        [receiving] = _sockets((given.receiving,))
        return Handover(given.slot, _sockets(given.sending), receiving, owner_of, sent)


def _sockets(descriptors: tuple[int, ...]) -> list[socket.socket]:
    return [socket.socket(fileno=number) for number in descriptors]
