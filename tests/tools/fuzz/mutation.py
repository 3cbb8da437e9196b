"""The engine without dependencies: seeded random mutations, for seconds or a number of inputs."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence

from tests.tools.fuzz.report import Finding, Tried
from tests.tools.fuzz.target import Target

SLOW_SECONDS = 2.0
"""CPU time. A slower input is a finding: it would delay every stream of a worker."""

MAX_BYTES = 16_384


def mutations(
    name: str, seeds: Sequence[bytes], words: Sequence[bytes], seed: int
) -> Iterator[bytes]:
    """Yield endless inputs: the seeds, then their mutations."""
    chance = random.Random(f"{name} {seed}")
    yield from seeds
    while True:
        yield mutated(chance, seeds, words)


def mutated(chance: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """Return a seed with some changes; half of the results have one change."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        start = chance.randrange(len(data) + 1)
        stop = min(len(data), start + chance.choice((1, 1, 2, 8, 64)))
        match chance.randrange(8):
            case 0 | 1 if words:
                data[start:start] = chance.choice(words)
            case 2 if words:
                data[start:stop] = chance.choice(words)
            case 3:
                data[start:stop] = b""
            case 4:
                data[start:start] = data[start:stop] * chance.choice((1, 2, 50))
            case 5:
                data[start:stop] = chance.randbytes(stop - start)
            case 6:
                other = chance.choice(seeds)
                data[start:] = other[chance.randrange(len(other) + 1) :]
            case _ if start < len(data):
                data[start] ^= 1 << chance.randrange(8)
            case _:
                data.append(chance.randrange(256))
    return bytes(data[:MAX_BYTES])


def run(target: Target, seed: int, seconds: float, inputs: int | None = None) -> Tried:
    """Run inputs for seconds or a number; the first finding ends the run."""
    began = time.monotonic()
    tried = 0
    fault = ""
    for data in mutations(target.name, target.seeds, target.words, seed):
        if tried == inputs or (inputs is None and time.monotonic() - began > seconds):
            break
        tried += 1
        fault = fault_of(target, data)
        if fault:
            break
    findings = (Finding(data, fault),) if fault else ()
    return Tried(target.name, "random", tried, time.monotonic() - began, findings)


def fault_of(target: Target, data: bytes) -> str:
    """Return the finding for an input, or an empty text."""
    began = time.process_time()
    try:
        target.check(data)
    except Exception as error:  # noqa: BLE001 - any exception is a finding
        return f"{type(error).__name__}: {str(error)[:300]}"
    seconds = time.process_time() - began
    return f"took {seconds:.1f} s" if seconds > SLOW_SECONDS else ""
