"""What the brokers say of topics: how many partitions, and which incarnation of the name it is.

aiokafka 0.14 asks with version 5 of the Metadata request at the most, and topics have ids from
version 10 on (KIP-516). A topic that was deleted and made anew has the same name and another id, so
nothing else tells so surely that its offsets mean something else now. Hence a request of our own:
version 12, or aiokafka's versions where a broker is older and knows no ids.

It names the topics and creates none, which aiokafka's own would where the broker allows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest_v4, MetadataRequest_v5
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

from gateway.core.event_id import incarnation_tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from io import BytesIO

API_KEY = 3
NO_ID = bytes(16)
"""What a broker says of a topic that it cannot find, and of one that has no id."""


class Cluster(NamedTuple):
    """What the brokers answered: who they are, and the topics of those asked for that exist."""

    cluster_id: str
    partitions: Mapping[str, int]
    ids: Mapping[str, bytes]
    """16 bytes for each topic; none for a topic of brokers that know no ids (before Kafka 2.8)."""
    denied: frozenset[str] = frozenset()
    """Topics that this client has no right to describe; they may not exist either."""

    def tag(self, topic: str) -> bytes:
        """Return the tag of a topic's present incarnation, as it stands in event ids."""
        return incarnation_tag(self.cluster_id, topic, self.ids.get(topic, b""))


class _Uuid(AbstractType):  # type: ignore[misc] # aiokafka ships no type information
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY = API_KEY
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _MetadataRequest(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = API_KEY
    API_VERSION = 12
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(("id", _Uuid), ("name", CompactString("utf-8")), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicsRequest(Request[MetadataRequest_v4 | MetadataRequest_v5 | _MetadataRequest]):  # type: ignore[misc]
    """Asks for the topics of these names, and creates none of them."""

    API_KEY = API_KEY

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)

    def build(self, request_struct_class: Any) -> Any:
        """Return the request in the version that the connection has negotiated."""
        if request_struct_class is _MetadataRequest:
            no_tags: dict[int, bytes] = {}
            topics = [(NO_ID, name, no_tags) for name in self._names]
            return _MetadataRequest(topics, False, False, no_tags)
        return request_struct_class(self._names, False)


def read_cluster(answer: Any) -> Cluster:
    """Return what an answer to `TopicsRequest` says of the topics that exist."""
    fields = answer.to_object()
    topics = {topic["topic"]: topic for topic in fields["topics"] if topic["partitions"]}
    return Cluster(
        fields["cluster_id"] or "",
        {name: len(topic["partitions"]) for name, topic in topics.items()},
        {name: topic["id"] for name, topic in topics.items() if topic.get("id", NO_ID) != NO_ID},
    )


def refused(answer: Any, error_code: int) -> list[str]:
    """Return the names that an answer to `TopicsRequest` has this error for."""
    topics = answer.to_object()["topics"]
    return [topic["topic"] for topic in topics if topic["error_code"] == error_code]
