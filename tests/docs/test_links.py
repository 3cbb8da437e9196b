"""Links between documents and to project files have existing targets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.markdown import DOCUMENTS, anchors, links, name_of


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_a_link_inside_the_project_has_a_target(document: Path) -> None:
    for link in links(document):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        target = document.parent / path if path else document
        assert target.exists(), f"{name_of(document)} links to {link}, which is not there"
        if anchor:
            assert anchor in anchors(target), (
                f"{name_of(document)} links to {link}: no such heading"
            )


def test_every_document_is_reachable_from_the_readme() -> None:
    readme = next(document for document in DOCUMENTS if document.name == "README.md")
    reached, to_read = {readme}, [readme]
    while to_read:
        document = to_read.pop()
        targets = {(document.parent / link.partition("#")[0]).resolve() for link in links(document)}
        new = {target for target in DOCUMENTS if target in targets} - reached
        reached |= new
        to_read += new
    assert reached == set(DOCUMENTS)
