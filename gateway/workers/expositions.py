"""Merges the metrics of several workers: each sample gets the label `worker`.

Works on both text formats of Prometheus, which group all samples of a metric family behind its
comments (https://prometheus.io/docs/instrumenting/exposition_formats/).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_END = "# EOF"
"""The last line of an exposition in OpenMetrics."""


def merged(expositions: Mapping[str, str], own: str = "") -> str:
    """Return one exposition; keys are the values of the label.

    `own` is the supervisor's exposition, whose samples are not changed.
    """
    families: dict[str, tuple[list[str], list[str]]] = {}
    ended = False
    for worker, text in (("", own), *expositions.items()):
        family = ""
        for line in text.splitlines():
            if line == _END:
                ended = True
            elif line.startswith("# "):
                family = line.split(" ", 3)[2]
                comments, _ = families.setdefault(family, ([], []))
                if line not in comments:
                    comments.append(line)
            elif line:
                _, samples = families.setdefault(family, ([], []))
                samples.append(_labelled(line, worker) if worker else line)
    groups = families.values()
    lines = [line for comments, samples in groups for line in (*comments, *samples)]
    return "".join(f"{line}\n" for line in (*lines, *([_END] if ended else ())))


def _labelled(sample: str, worker: str) -> str:
    """Insert the label before other labels; names contain neither braces nor spaces."""
    name, brace, rest = sample.partition("{")
    if brace and " " not in name:
        more = "" if rest.startswith("}") else ","
        return f'{name}{{worker="{worker}"{more}{rest}'
    name, _, rest = sample.partition(" ")
    return f'{name}{{worker="{worker}"}} {rest}'
