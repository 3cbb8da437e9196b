"""A database of advisories as files, and the answers that it gives where there is no network.

The files are records of OSV (https://ossf.github.io/osv-schema/), as the export of each ecosystem
has them: one JSON object for each, in a ZIP archive or unpacked into a directory. They are served
on loopback as OSV's own API serves them, so the same tool asks with and without a network.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Advisory = dict[str, Any]
"""A record of OSV."""

ECOSYSTEM = "PyPI"


class DatabaseError(Exception):
    """The database cannot be read, or holds nothing; says what was found there."""


class Database:
    """The advisories at a path, or none. Raises `DatabaseError` where there are none to read."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        if path is not None and not self._advisories:
            raise DatabaseError(f"{path} holds no advisory for {ECOSYSTEM}")

    def find(self, name: str, version: str) -> list[Advisory]:
        """Return the advisories that this version of the package is affected by."""
        name = canonicalize_name(name)
        return [
            advisory
            for advisory in self._advisories.get(name, ())
            if any(
                concerns(affected, name) and is_affected(affected, version)
                for affected in advisory["affected"]
            )
        ]

    @cached_property
    def _advisories(self) -> dict[str, list[Advisory]]:
        found: dict[str, list[Advisory]] = {}
        for advisory in self._read():
            affected = advisory.get("affected", ())
            packages = [entry["package"] for entry in affected if "package" in entry]
            for name in {
                canonicalize_name(package["name"])
                for package in packages
                if package["ecosystem"] == ECOSYSTEM
            }:
                found.setdefault(name, []).append(advisory)
        return found

    def _read(self) -> Iterator[Advisory]:
        path = self._path
        if path is None:
            return
        try:
            if path.is_dir():
                for file in sorted(path.glob("*.json")):
                    yield json.loads(file.read_bytes())
            else:
                with ZipFile(path) as archive:
                    for name in archive.namelist():
                        yield json.loads(archive.read(name))
        except (OSError, BadZipFile, ValueError) as error:
            raise DatabaseError(f"{path} is no export of OSV: {error}") from None


def concerns(affected: dict[str, Any], name: str) -> bool:
    """Return whether an entry of an advisory speaks of that package, by its normalised name."""
    package = affected.get("package", {})
    return (
        package.get("ecosystem") == ECOSYSTEM and canonicalize_name(package.get("name", "")) == name
    )


def is_affected(affected: dict[str, Any], version: str) -> bool:
    """Return whether the version is listed, or in a range (OSV schema, "Evaluation")."""
    wanted = Version(version)
    return any(_version(listed) == wanted for listed in affected.get("versions", ())) or any(
        _contains(span["events"], wanted)
        for span in affected.get("ranges", ())
        if span["type"] == "ECOSYSTEM"
    )


def _contains(events: list[dict[str, str]], wanted: Version) -> bool:
    inside = False
    for kind, bound in sorted(
        ((kind, _version(text)) for event in events for kind, text in event.items()),
        key=lambda event: event[1],
    ):
        if kind == "introduced" and bound <= wanted:
            inside = True
        elif (kind == "fixed" and bound <= wanted) or (kind == "last_affected" and bound < wanted):
            inside = False
    return inside


def _version(text: str) -> Version:
    """Return a version of an advisory; what is none, as some old ones, is before all others."""
    try:
        return Version(text)
    except InvalidVersion:
        return Version("0.dev0")


@contextmanager
def served(database: Database) -> Iterator[str]:
    """Answer as OSV's API does (`POST /v1/query`) on loopback meanwhile; gives the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = database.find(asked["package"]["name"], asked["version"])
            body = json.dumps({"vulns": found} if found else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing; what was asked is in the report."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
