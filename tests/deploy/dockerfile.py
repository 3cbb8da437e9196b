"""Parse the steps of the Dockerfile by stage."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from tests.docs.markdown import ROOT

DOCKERFILE = ROOT / "deploy/docker/Dockerfile"


class Step(NamedTuple):
    """An instruction and its arguments, on one line."""

    word: str
    rest: str


def stages() -> list[list[Step]]:
    """Return the steps of each stage, its `FROM` first; steps before the first are left out."""
    found: list[list[Step]] = []
    for step in _steps():
        if step.word == "FROM":
            found.append([])
        if found:
            found[-1].append(step)
    return found


def environment(stage: list[Step]) -> dict[str, str]:
    """Return the variables that a stage sets with `ENV`, references not expanded."""
    return dict(
        pair.split("=", 1) for word, rest in stage if word == "ENV" for pair in rest.split()
    )


def only(stage: list[Step], word: str) -> str:
    """Return the arguments of an instruction that a stage has once."""
    (rest,) = [step.rest for step in stage if step.word == word]
    return rest


def words(form: str) -> list[str]:
    """Return the arguments of a command in exec form."""
    command: list[str] = json.loads(form)
    return command


def _steps() -> Iterator[Step]:
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line:
            word, _, rest = line.partition(" ")
            yield Step(word, rest)
