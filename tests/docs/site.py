"""Hooks of the site (mkdocs): files outside `docs/`, and links that work here and on a forge.

The documents link to each other and to files of the project by relative paths, as a forge wants it.
On the site the README is the start page, the other documents at the project's top are beside those
of `docs/`, and any other file is served as it is. The reference is made of docstrings,
the descriptions of requests and events of the code.
"""

from __future__ import annotations

import json
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from gateway.api.documents import operations_documents, public_documents
from gateway.config import Settings
from gateway.core.registry import Registry

ROOT = Path(__file__).parents[2]

PAGES = {
    "README.md": "index.md",
    **{name: name for name in ("SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md")},
    "CODE_OF_CONDUCT.md": "CODE_OF_CONDUCT.md",
}
"""Documents in the project's root, and their names on the site."""

PUBLIC_API = ("gateway.publisher.EventPublisher", "gateway.publisher.Delivery")
"""Public imports in display order; whole modules follow."""

PUBLIC_MODULES = ("gateway.client", "gateway.errors")

DESCRIPTIONS = """\
# OpenAPI and AsyncAPI

A worker serves its own, made from its settings
([operations](metrics.md#descriptions-for-programs)). Those of a worker with default settings:

- [requests](openapi.json) and [events](asyncapi.json) of the public listener
- [requests](operations/openapi.json) of the operations listener, and
  [all topics](operations/asyncapi.json)
"""

_LINK = re.compile(
    r"(?P<before>\]\(|^\[[^\]]+\]: )(?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?", re.MULTILINE
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add pages from outside `docs/`."""
    texts = {here: (ROOT / there).read_text(encoding="utf-8") for there, here in PAGES.items()}
    texts |= {"reference.md": _reference(), "descriptions.md": DESCRIPTIONS, **_descriptions()}
    linked = {
        target
        for path in (*map(ROOT.joinpath, PAGES), *(ROOT / "docs").glob("**/*.md"))
        for target in _targets(path)
        if not target.startswith("docs/") and target not in PAGES
    }
    texts |= {name: (ROOT / name).read_text(encoding="utf-8") for name in sorted(linked)}
    for name, text in texts.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Rewrite links to project files as links of the site."""
    here = page.file.src_uri
    document = next((there for there, name in PAGES.items() if name == here), f"docs/{here}")

    def replace(link: re.Match[str]) -> str:
        target = link["target"]
        if "://" in target:
            return link[0]
        there = _place(posixpath.normpath(posixpath.join(posixpath.dirname(document), target)))
        path = posixpath.relpath(there, posixpath.dirname(here) or ".")
        return f"{link['before']}{path}{link['anchor'] or ''}"

    return markdown if here not in _sources() else _LINK.sub(replace, markdown)


def _sources() -> set[str]:
    documents = {
        path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").glob("**/*.md")
    }
    return {*PAGES.values(), *documents}


def _place(path: str) -> str:
    """Return the location of a project file on the site."""
    return PAGES.get(path) or path.removeprefix("docs/")


def _targets(document: Path) -> set[str]:
    """Return the project files that a document links to, by link target."""
    folder = document.relative_to(ROOT).parent.as_posix()
    found = (link["target"] for link in _LINK.finditer(document.read_text(encoding="utf-8")))
    paths = {
        posixpath.normpath(posixpath.join(folder, target))
        for target in found
        if "://" not in target
    }
    return {path for path in paths if (ROOT / path).is_file()}


def _reference() -> str:
    names = "\n".join(f"::: {name}\n" for name in (*PUBLIC_API, *PUBLIC_MODULES))
    return f"# The Python interface\n\n{names}"


def _descriptions() -> dict[str, str]:
    settings = Settings.model_construct()  # the defaults, independent of the environment
    registry = Registry.built_in()
    found = public_documents(settings, registry)
    found |= {
        f"/operations{path}": document
        for path, document in operations_documents(settings, registry).items()
    }
    return {path[1:]: json.dumps(document, indent=2) for path, document in found.items()}
