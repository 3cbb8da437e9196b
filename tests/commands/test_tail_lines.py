from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from gateway.client.messages import message
from gateway.commands.tail_lines import JsonLines, Printer
from gateway.core.registry import Registry


def printed(event_type: str, data: str, width: int = 120) -> str:
    """Return the line for a terminal, without the time at its beginning."""
    output = io.StringIO()
    printer = Printer(Console(file=output, width=width), Registry.built_in())
    printer.event(message(event_type, data, "2", "1"), 0.5)
    return output.getvalue().partition("  ")[2]


@pytest.mark.parametrize(
    ("event_type", "data", "line"),
    [
        ("import.started", "{}", "import     import.started                  {}\n"),
        ("un.known", "1", "-          un.known                        1\n"),
        ("ai.tool", "\x1b[31m\n\x9b", r"-          ai.tool                         \x1b[31m\n\x9b"),
        ("un\u202eknown", "1", r"-          un\u202eknown"),
        ("stream.gap", '{"reason": "expired"}', "gap: events that retention has removed"),
        ("stream.gap", '{"reason": "schema"}', "gap: an event could not be decoded"),
        ("stream.gap", '{"reason": "new\x1b"}', "gap: "),
        ("stream.close", '{"reason": "draining"}', "closed by the server: draining"),
        ("stream.close", "nonsense", "closed by the server: nonsense"),
    ],
)  # fmt: skip
def test_a_person_gets_a_line_that_cannot_steer_the_terminal(
    event_type: str, data: str, line: str
) -> None:
    text = printed(event_type, data)
    assert text.startswith(line)
    assert text.rstrip("\n").isprintable()


def test_a_payload_is_cut_to_the_terminal_and_a_gap_is_not() -> None:
    assert printed("import.started", "x" * 300, width=80).count("\n") == 1
    assert "fetch the state again" in printed("stream.gap", '{"reason":"limit"}', 40).replace(
        "\n", " "
    )


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ('{"price":  1.10,\n "n": [1, 2]}', '{"price":1.10,"n":[1,2]}'),
        ("no json", '"no json"'),
        ("two\nlines", '"two\\nlines"'),
    ],
)
def test_a_program_gets_one_line_of_json(
    data: str, value: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    JsonLines().event(message("import.started", data, "2", "1"), 0.5)
    line = capfdbinary.readouterr().out.decode()
    assert line.count("\n") == 1
    assert f'"data":{value},' in line
    event = json.loads(line)
    assert (event["id"], event["event"]) == ("2", "import.started")
    assert event["time"] == "1970-01-01T00:00:00.500000Z"
