"""The coverage-guided engine: atheris with libFuzzer, one process for each target.

libFuzzer keeps every input that reaches new code and mutates it further. It ends the process at the
first finding and writes the input to a file.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.tools.fuzz.mutation import MAX_BYTES
from tests.tools.fuzz.report import Finding, Tried
from tests.tools.fuzz.target import Target

GRACE_SECONDS = 60.0
"""Extra time of a process, its start included."""

HUNG_SECONDS = 10

_INPUTS = re.compile(r"stat::number_of_executed_units: +(\d+)")
_RAISED = re.compile(r"Uncaught Python exception: ===\s+(.+)")
_SO_FAR = re.compile(r"^#(\d+)\t", re.MULTILINE)


def is_there() -> bool:
    """Return whether atheris is installed."""
    return importlib.util.find_spec("atheris") is not None


def run(target: Target, seed: int, seconds: float, folder: Path) -> Tried:
    """Run a target for a number of seconds in an empty folder."""
    corpus, found = folder / "corpus", folder / "found"
    corpus.mkdir()
    found.mkdir()
    for number, data in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(data)
    words = folder / "words"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words if len(word) <= 64))
    began = time.monotonic()
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "tests.tools.fuzz.guided", target.name, str(corpus)),
            *(f"-max_total_time={round(seconds)}", f"-seed={seed % (1 << 31) + 1}"),
            *(f"-max_len={MAX_BYTES}", f"-timeout={HUNG_SECONDS}", "-rss_limit_mb=2048"),
            *(f"-artifact_prefix={found}/", f"-dict={words}", "-print_final_stats=1"),
        ],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds + GRACE_SECONDS,
        check=False,
    )
    inputs = [int(number) for number in _INPUTS.findall(ended.stderr)]
    inputs = inputs or [int(number) for number in _SO_FAR.findall(ended.stderr)] or [0]
    # Not repeated in this process: it may crash the interpreter.
    raised = _RAISED.search(ended.stderr)
    findings = [
        Finding(path.read_bytes(), raised[1][:300] if raised else path.name.partition("-")[0])
        for path in sorted(found.iterdir())
    ]
    if ended.returncode and not findings:
        findings.append(
            Finding(b"", f"the engine ended with {ended.returncode}: {ended.stderr[-500:]}")
        )
    return Tried(target.name, "atheris", inputs[-1], time.monotonic() - began, tuple(findings))


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _main() -> None:
    import atheris

    with atheris.instrument_imports(include=["gateway"]):
        from tests.tools.fuzz.targets import TARGETS

    name, *arguments = sys.argv[1:]
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name].check)
    atheris.Fuzz()


if __name__ == "__main__":
    _main()
