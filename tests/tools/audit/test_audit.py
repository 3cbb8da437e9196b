from __future__ import annotations

import json
from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest
import typer
from typer.testing import CliRunner

from tests.child import free_port
from tests.tools.audit.__main__ import Verdict, audit, main
from tests.tools.audit.database import Database, DatabaseError, is_affected
from tests.tools.audit.packages import licences, pinned, runtime

if TYPE_CHECKING:
    from pathlib import Path

    from typer.testing import Result

PERMISSIVE = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PSF-2.0"),
    *("Apache 2", "Apache 2.0", "ISC License", "MIT License"),
}
"""What may stand in a dependency of a worker: nothing that asks for more than a notice."""

ADVISORY = {
    "id": "PYSEC-0000-1",
    "schema_version": "1.6.0",
    "summary": "made up for this test",
    "affected": [
        {
            "package": {"name": "aiohttp", "ecosystem": "PyPI"},
            "ranges": [
                {"type": "ECOSYSTEM", "events": [{"introduced": "3.0"}, {"fixed": "3.14.1"}]}
            ],
        }
    ],
}

NOBODY = {"aiohttp": "3.14.1"}
SOMEBODY = {"aiohttp": "3.14.0"}


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "all.zip"
    with ZipFile(path, "w") as archive:
        archive.writestr("PYSEC-0000-1.json", json.dumps(ADVISORY))
    return path


def test_where_nobody_answers_one_line_says_so_and_it_is_no_vulnerability() -> None:
    verdict, text = audit(NOBODY, f"http://127.0.0.1:{free_port()}/v1/query")
    assert verdict is Verdict.UNKNOWN
    assert text.startswith("not audited")
    assert "\n" not in text


def test_a_database_may_be_a_directory(tmp_path: Path) -> None:
    (tmp_path / "PYSEC-0000-1.json").write_text(json.dumps(ADVISORY))
    assert [found["id"] for found in Database(tmp_path).find("AioHTTP", "3.9")] == ["PYSEC-0000-1"]


@pytest.mark.parametrize("content", [b"", b"PK no archive", b"{}"])
def test_what_is_no_database_is_not_taken_for_a_clean_one(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "all.zip"
    path.write_bytes(content)
    with pytest.raises(DatabaseError, match="no export"):
        Database(path)


def test_an_empty_database_is_not_taken_for_a_clean_one(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="holds no advisory"):
        Database(tmp_path)


@pytest.mark.parametrize(
    ("affected", "version", "expected"),
    [
        ({"versions": ["1.0", "1.1"]}, "1.1.0", True),
        ({"versions": ["1.0", "no version"]}, "1.1", False),
        ([{"introduced": "0"}], "1.0", True),
        ([{"introduced": "1.0"}], "0.9", False),
        ([{"introduced": "0"}, {"fixed": "1.10"}], "1.9", True),
        ([{"introduced": "0"}, {"fixed": "1.10"}], "1.10", False),
        ([{"introduced": "0"}, {"last_affected": "1.9"}], "1.9", True),
        ([{"introduced": "0"}, {"last_affected": "1.9"}], "1.10", False),
        ([{"fixed": "1.2"}, {"introduced": "0"}, {"introduced": "2.0"}], "1.5", False),
        ([{"fixed": "1.2"}, {"introduced": "0"}, {"introduced": "2.0"}], "2.1", True),
    ],
)
def test_a_version_is_affected_as_the_schema_says(
    affected: dict[str, object] | list[dict[str, str]], version: str, expected: bool
) -> None:
    if isinstance(affected, list):
        affected = {"ranges": [{"type": "ECOSYSTEM", "events": affected}]}
    assert is_affected(affected, version) is expected


def test_ranges_of_commits_say_nothing_of_versions() -> None:
    assert not is_affected({"ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}]}, "1.0")


def test_a_known_vulnerability_is_found_and_named(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = _run(monkeypatch, SOMEBODY, "--database", str(database))
    assert ran.output == "aiohttp 3.14.0: PYSEC-0000-1, fixed in 3.14.1\n"
    assert ran.exit_code == 1


def test_a_database_that_is_not_there_is_a_wrong_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _run(monkeypatch, NOBODY, "--database", str(tmp_path / "none")).exit_code == 2


def test_what_no_advisory_speaks_of_is_clean_and_what_a_worker_is_made_of_is_listed(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = {**NOBODY, "yarl": "1.0", "pytest": "8.0"}
    sbom = tmp_path / "new" / "sbom.json"
    ran = _run(monkeypatch, pins, "--database", str(database), "--sbom", str(sbom))
    assert ran.exit_code == 0, ran.output
    assert ran.output.endswith("no vulnerability is known in 3 packages\n")
    listed = json.loads(sbom.read_text())
    assert listed["bomFormat"] == "CycloneDX"
    assert {part["name"] for part in listed["components"]} == {"aiohttp", "yarl"}


def test_every_package_of_a_worker_is_pinned() -> None:
    assert runtime() <= pinned().keys()


@pytest.mark.parametrize("name", sorted(runtime()))
def test_every_package_of_a_worker_has_a_permissive_licence(name: str) -> None:
    assert licences(name)
    assert licences(name) <= PERMISSIVE


def _run(monkeypatch: pytest.MonkeyPatch, pins: dict[str, str], *arguments: str) -> Result:
    monkeypatch.setattr("tests.tools.audit.__main__.pinned", lambda: pins)
    app = typer.Typer()
    app.command()(main)
    return CliRunner().invoke(app, arguments)
