from __future__ import annotations

import os
import subprocess
import sys
import time

from tests.tools.bench.process import cpu_seconds, resident_kb, tree


def test_cpu_time_matches_the_process() -> None:
    before = cpu_seconds(os.getpid())
    begin = time.process_time()
    sum(range(300_000))
    own = time.process_time() - begin
    assert cpu_seconds(os.getpid()) - before >= own > 0


def test_a_child_and_its_memory_belong_to_the_tree() -> None:
    alone = resident_kb(os.getpid())
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert tree(os.getpid())[0] == os.getpid()
        assert child.pid in tree(os.getpid())
        assert resident_kb(os.getpid()) > alone
        child.communicate(b"\n")
