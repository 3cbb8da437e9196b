from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import frame
from gateway.core.event import Decoder
from gateway.core.mapping import RecordMapping, Template
from gateway.core.records import Event, LogKind, make_record
from gateway.core.registry import Registry
from gateway.core.source import Source
from gateway.errors import PublishError
from gateway.publisher.mapped import encode_mapped

DECODER = Decoder(Registry.built_in())

texts = st.text("ab.", min_size=1, max_size=4)
templates = st.lists(
    st.sampled_from(["a", "b.", "{header:h}", "{header:i}", "{field:t}"]), min_size=1, max_size=3
).map("".join)


@given(templates, st.none() | st.just("d"), texts, st.dictionaries(st.sampled_from("td"), texts))
def test_a_worker_reads_the_event_that_was_encoded(
    template: str, data: str | None, event_type: str, payload: dict[str, str]
) -> None:
    mapping = RecordMapping(Template.parse(template), None, data)
    source = Source("orders", LogKind.USER, mapping=mapping)
    raw = msgspec.Raw(json.dumps(payload).encode())
    try:
        message = encode_mapped(source, mapping, b"alice", event_type, raw)
    except PublishError:
        return
    record = make_record(0, 0, message.key, message.value, tuple(message.headers))
    event = DECODER.decode(record, keyed=True, source=source)
    assert event == Event(event_type, None, frame.event_body(event_type, bytes(raw)))


@pytest.mark.parametrize(
    ("template", "data", "event_type", "fault"),
    [
        (
            "order.{header:kind}",
            None,
            "paid",
            r"types of the form order\.\{header:kind\}, and paid",
        ),
        ("order", None, "order.paid", "and order.paid is not one; write a type of this form"),
        ("{field:kind}", None, "paid", "takes its types from the payload: field `kind` is missing"),
        ("{field:t}", None, "paid", "takes its types from the payload, which says open"),
    ],
)
def test_a_type_that_the_mapping_cannot_yield_is_refused(
    template: str, data: str | None, event_type: str, fault: str
) -> None:
    mapping = RecordMapping(Template.parse(template), None, data)
    source = Source("orders", LogKind.USER, mapping=mapping)
    with pytest.raises(PublishError, match=fault):
        encode_mapped(source, mapping, b"a", event_type, msgspec.Raw(b'{"t": "open"}'))
