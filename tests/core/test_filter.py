from __future__ import annotations

import gc
import re
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.delivery import Outbox
from gateway.core.event_id import parse
from gateway.core.feed import PartitionFeed
from gateway.core.filter import MAX_PATTERNS, EventFilter, Filters, Selection, select_types
from gateway.core.records import Event, OffsetPosition, Record
from tests.core.stage import Stage, stream_of
from tests.core.world import DATA, OTHER


def event(event_type: str, category: str | None = None) -> Event:
    return Event(event_type, category, b"")


def selected(*patterns: str) -> Selection:
    selection = select_types(patterns)
    assert selection is not None
    return selection


@pytest.mark.parametrize(
    ("patterns", "event_type", "found"),
    [
        (["import.completed"], "import.completed", True),
        (["import.completed"], "import.completed.late", False),
        (["import.completed"], "import", False),
        (["import.*"], "import.completed", True),
        (["import.*"], "import.rows.read", True),
        (["import.*"], "import", False),
        (["import.*"], "imports.started", False),
        (["import.*"], "Import.started", False),
        (["a.b", "import.*", "ai.*"], "ai.tool.executing", True),
        (["a.b", "import.*", "ai.*"], "a.c", False),
    ],
)
def test_types_are_compared_whole_or_by_prefix(
    patterns: list[str], event_type: str, *, found: bool
) -> None:
    assert selected(*patterns).has(event(event_type)) is found


types = st.text(st.sampled_from("ab."), min_size=1, max_size=5)


@given(st.lists(types | types.map("{}.*".format), min_size=1, max_size=4), types)
def test_patterns_select_what_the_same_regular_expressions_match(
    patterns: list[str], event_type: str
) -> None:
    expression = "|".join(
        re.escape(pattern.removesuffix("*")) + (".*" if pattern.endswith("*") else "")
        for pattern in patterns
    )
    expected = re.fullmatch(expression, event_type) is not None
    assert selected(*patterns).has(event(event_type)) is expected
    assert selected(*selected(*patterns).patterns) == selected(*patterns)


def test_a_star_alone_selects_everything() -> None:
    assert select_types(["import.*", "*"]) is None


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("a*", r"type a\* has a \* that does not end a prefix; write .* such as import\.\*"),
        ("*.a", "does not end a prefix"),
        ("a.*.b", "does not end a prefix"),
        ("a.**", "does not end a prefix"),
        ("", "a type has 1 to 255 bytes"),
        ("a\nb", "no control characters; write a type"),
        ("a" * 256, "1 to 255 bytes"),
        ("stream.gap", "stream.gap is reserved: .* are always sent; leave it out"),
        ("stream.*", "is reserved"),
    ],
)
def test_an_invalid_pattern_is_rejected_with_the_remedy(pattern: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        select_types(["a.b", pattern])


def test_the_number_of_patterns_is_bounded() -> None:
    assert select_types([f"t{number}" for number in range(MAX_PATTERNS)] * 2) is not None
    with pytest.raises(ValueError, match="more than 100 types; write prefixes"):
        select_types([f"t{number}" for number in range(MAX_PATTERNS)] + ["x.*"])


def test_a_filter_accepts_what_each_selection_contains() -> None:
    both = EventFilter([Selection(frozenset({"import"})), selected("import.*", "x")])
    assert both.accepts(event("import.started", "import"))
    assert both.accepts(event("x", "import"))
    assert not both.accepts(event("import.started", "ai"))
    assert not both.accepts(event("import.started"))
    assert not both.accepts(event("other", "import"))


def test_a_selection_may_have_categories_and_types() -> None:
    either = Selection(frozenset({"import"}), frozenset({"x"}), ("ai.",))
    assert either.has(event("other", "import"))
    assert either.has(event("x"))
    assert either.has(event("ai.response.chunk", "unknown"))
    assert not either.has(event("y", "ai"))


def test_a_filter_is_shown_to_operators() -> None:
    ai, both = frozenset({"ai"}), frozenset({"ai", "import"})
    shown = EventFilter([Selection(both), Selection(ai), selected("b.*", "a")])
    assert (shown.categories, shown.types) == (["ai"], ["a", "b.*"])
    assert (EventFilter([selected("a")]).categories, EventFilter([Selection(ai)]).types) == (
        None,
        None,
    )


def test_equal_requests_share_one_filter_while_it_is_used() -> None:
    filters = Filters()
    first = filters.find([Selection(frozenset({"ai"})), selected("b", "a.*")])
    assert filters.find([Selection(frozenset({"ai"})), selected("a.*", "b", "b")]) is first
    assert filters.find([selected("a.*", "b")]) is not first
    assert filters.find([]) is None
    gc.collect()
    assert len(filters) == 1
    del first
    gc.collect()
    assert len(filters) == 0


def test_streams_with_equal_filters_share_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    for _ in range(3):
        stage.connect(stage.client(selections=[selected("import.*")]))
        stage.connect(stage.client(selections=[selected(OTHER)]))
        stage.connect(stage.client())
    framed = []

    def counted(outbox: Outbox, feed: PartitionFeed, records: Sequence[Record]) -> int:
        framed.append(add(outbox, feed, records))
        return framed[-1]

    add = Outbox.add
    monkeypatch.setattr(Outbox, "add", counted)
    stage.broadcast(4)
    stage.worker.poll()
    assert framed == [8], "four frames for those with `import.*`, and four for those without"


@pytest.mark.parametrize("away", [False, True])
def test_events_that_a_type_excludes_advance_the_cursor(*, away: bool) -> None:
    stage = Stage()
    client = stage.client(selections=[selected("ai.*")])
    connection = stage.connect(client)
    if away:
        connection.drop(1 << 30)
        connection.lost()
    stage.write(3)
    (first,) = stage.write(event_type=OTHER)
    stage.write(5)
    stage.worker.poll()
    if away:
        connection = stage.connect(client)
    assert client.received == [first]
    # A heartbeat has this id: another worker need not read the excluded events again.
    client.last_id = stream_of(connection).id().decode()
    assert parse(client.last_id)[0].position == OffsetPosition(9, stage.world.now, True)
    stage.replace_worker()
    stage.reconnect(client)
    (second,) = stage.write(event_type=OTHER)
    stage.write(1, event_type=DATA)
    stage.worker.poll()
    assert client.received == [first, second]
    stage.judged(client)


def test_gap_in_place_of_an_event_passes_every_filter() -> None:
    strict = Filters().find([Selection(types=frozenset({"import.started"}))])
    assert strict is not None
    assert strict.accepts(event("stream.gap"))
