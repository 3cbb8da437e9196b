"""The site builds without warnings and loads nothing from other origins."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from gateway.publisher import EventPublisher
from tests.docs.markdown import DOCUMENTS, ROOT, name_of
from tests.docs.site import PAGES
from tests.eventually import DEADLINE

BUILD_SECONDS = 4 * DEADLINE

REMEDY = (
    "the site cannot be built (make docs): a page of docs/ has to stand in `nav` of mkdocs.yml,"
    " and a link has to lead to a file and a heading that there are"
)

LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""Attributes that load a resource."""

NOT_LOADED = {"canonical", "next", "prev", "alternate"}
"""Links in a page's head that load nothing."""


class Loaded(HTMLParser):
    """Collects the resources that a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        url = given.get(LOADING.get(tag, ""))
        if url is not None and given.get("rel") not in NOT_LOADED:
            self.found.append(url)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "-d", str(folder)],  # --quiet is not strict
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    assert built.returncode == 0, f"{REMEDY}\n{built.stderr}"
    assert "WARNING" not in built.stderr, built.stderr
    return folder


def test_every_document_is_a_page(site: Path) -> None:
    for document in DOCUMENTS:
        name = name_of(document)
        page = PAGES.get(name) or name.removeprefix("docs/")
        assert site.joinpath(page).with_suffix(".html").exists(), name


def test_pages_load_nothing_from_other_origins(site: Path) -> None:
    for page in site.rglob("*.html"):
        parser = Loaded()
        parser.feed(page.read_text(encoding="utf-8"))
        assert parser.found
        assert [url for url in parser.found if re.match(r"\w+:|//", url)] == [], page.name
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", style.read_text(encoding="utf-8"))


def test_the_reference_has_the_public_interface(site: Path) -> None:
    text = site.joinpath("reference.html").read_text(encoding="utf-8")
    for name in ("publish", "submit", "broadcast", "revoke_session"):
        assert hasattr(EventPublisher, name)
        assert f'id="gateway.publisher.EventPublisher.{name}"' in text


@pytest.mark.parametrize("path", ["openapi.json", "operations/asyncapi.json"])
def test_the_site_has_the_descriptions_for_default_settings(path: str, site: Path) -> None:
    assert json.loads(site.joinpath(path).read_text(encoding="utf-8"))["info"]["version"]
