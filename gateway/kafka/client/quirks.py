"""Deviations of brokers from Apache Kafka, by cluster id."""

from __future__ import annotations

from typing import NamedTuple

EMBEDDED_CLUSTER = "tansu_cluster"
"""The default cluster id of the embedded broker, tansu 0.6."""


class Quirks(NamedTuple):
    """Deviations of a broker; all are False for Apache Kafka."""

    low_ends: bool = False
    """ListOffsets returns base offset + 1 of the last batch as the end, also for larger batches."""
    no_configs: bool = False
    """DescribeConfigs closes the connection."""
    no_rights: bool = False
    """ACLs are not implemented; a fetch beyond the end is not rejected at once."""


def quirks_of(cluster_id: str) -> Quirks:
    """Return the deviations of the brokers of a cluster."""
    return (
        Quirks(low_ends=True, no_configs=True, no_rights=True)
        if cluster_id == EMBEDDED_CLUSTER
        else Quirks()
    )
