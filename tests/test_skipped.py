from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.programs import ROOT, packages
from tests.skipped import summary


def test_each_reason_is_counted_and_each_package_named_once() -> None:
    reasons = ["java and mvn not installed"] * 3 + ["helm not installed", "nginx is not installed"]
    assert summary(reasons) == [
        "    3  java and mvn not installed",
        "    1  helm not installed",
        "    1  nginx is not installed",
        "install with: apt-get install default-jdk-headless maven nginx",
        "build with: make tools",
    ]


def test_without_skipped_tests_nothing_is_printed() -> None:
    assert summary([]) == []


def test_a_run_of_pytest_ends_with_the_list(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from tests.skipped import pytest_terminal_summary\n")
    (tmp_path / "test_it.py").write_text(
        "import pytest\n\n\ndef test_it():\n    pytest.skip('nginx not installed')\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", "/dev/null", "."]
    ran = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert "1 tests skipped" in ran.stdout, ran.stdout + ran.stderr
    assert "    1  nginx not installed" in ran.stdout
    assert "install with: apt-get install nginx" in ran.stdout


def test_every_program_that_a_test_needs_has_a_package() -> None:
    known = packages()
    called = [
        line.split("require(", 1)[1].split(")")[0]
        for path in (ROOT / "tests").rglob("*.py")
        if path.name not in {"test_programs.py", "test_skipped.py", "programs.py"}
        or path.parent.name != "tests"
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip().startswith("require(")
    ]
    programs = {
        word.strip().strip('"') for call in called for word in call.split(",") if '"' in word
    }
    assert len(programs) > 10
    assert programs <= known.keys()
