"""The project's documents parsed as Markdown: code blocks, headings, links and tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


class Block(NamedTuple):
    """A fenced block of code."""

    document: str
    line: int
    language: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.document}:{self.line}"


def name_of(document: Path) -> str:
    """Return the document's path relative to the project."""
    return document.relative_to(ROOT).as_posix()


def blocks(*languages: str, documents: list[Path] = DOCUMENTS) -> list[Block]:
    """Return the blocks in one of these languages, in document order."""
    found = []
    for document in documents:
        for token in _tokens(document):
            if token.type == "fence" and token.info in languages:
                assert token.map is not None
                line = token.map[0] + 1
                found.append(Block(name_of(document), line, token.info, token.content))
    return found


def all_blocks() -> list[Block]:
    """Return every fenced block of every document."""
    tokens = (token for document in DOCUMENTS for token in _tokens(document))
    return blocks(*{token.info for token in tokens if token.type == "fence"})


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document: each heading, as GitHub writes it."""
    tokens = _tokens(document)
    headings = [
        tokens[index + 1].content
        for index, token in enumerate(tokens)
        if token.type == "heading_open"
    ]
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def links(document: Path) -> list[str]:
    """Return the targets of the document's links and images."""
    found = []
    for token in _tokens(document):
        for child in token.children or ():
            target = child.attrs.get("href", child.attrs.get("src"))
            if isinstance(target, str):
                found.append(target)
    return found


def rows(document: Path, heading: str) -> list[list[str]]:
    """Return the rows of all tables whose first column is headed `heading`."""
    found = [row for table in _tables(document) if table[0][0] == heading for row in table[1:]]
    assert found, f"{name_of(document)} lacks a table headed {heading!r}"
    return found


def first_column(document: Path, heading: str) -> list[str]:
    """Return the code words that start the rows of the table headed `heading`."""
    return [row[0].strip("`") for row in rows(document, heading)]


def _tables(document: Path) -> Iterator[list[list[str]]]:
    table: list[list[str]] = []
    tokens = _tokens(document)
    for token, inner in pairwise([*tokens, tokens[-1]]):
        if token.type == "table_open":
            table = []
        elif token.type == "tr_open":
            table.append([])
        elif token.type in {"th_open", "td_open"}:
            table[-1].append(inner.content)
        elif token.type == "table_close":
            yield table


@cache
def _tokens(document: Path) -> list[Token]:
    """Return the tokens of a document, which every process of a test run parses once."""
    parser = MarkdownIt("commonmark").enable("table")
    return parser.parse(document.read_text(encoding="utf-8"))
