"""The slot of a worker process, with the sockets to its siblings."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, NamedTuple

from gateway.http.transport.handover import Handover
from gateway.workers.plan import owner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.workers.messages import Assignment


class Slot(NamedTuple):
    """One of `slots` slots of a machine."""

    number: int
    slots: int
    name: str
    """The name of the worker, unique in the fleet."""
    ops_url: str
    """The operations listener of the supervisor."""
    listening: Sequence[socket.socket]
    patient: bool
    """Whether clients are accepted only once the worker is ready."""
    sending: Sequence[socket.socket]
    """Sockets that lead to the worker of each slot."""
    receiving: socket.socket | None
    """Socket on which connections arrive from siblings; None: none are handed over."""

    def handover(
        self, partition: Callable[[bytes], int | None], sent: Callable[[int], None]
    ) -> Handover | None:
        """Return the handover of connections to the slots of their partitions.

        `partition` returns the partition of a user, None: not known yet; `sent` counts handovers.
        """
        if self.receiving is None:
            return None

        def owner_of(user: bytes) -> int | None:
            found = partition(user)
            return None if found is None else owner(found, self.slots)

        return Handover(self.number, self.sending, self.receiving, owner_of, sent)


def slot_of(assignment: Assignment) -> Slot:
    """Return the slot with the sockets that a process has inherited."""
    handed_over = assignment.settings.sharding != "off"
    return Slot(
        assignment.slot,
        assignment.slots,
        assignment.name,
        assignment.ops_url,
        [socket.socket(fileno=number) for number in assignment.listening],
        assignment.patient,
        [socket.socket(fileno=number) for number in assignment.sending],
        socket.socket(fileno=assignment.receiving) if handed_over else None,
    )
