"""Every page's blocks are run from top to bottom, in a clean home, with a provider that costs nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.docs.blocks import Page, PageError, pages
from tests.docs.session import Session
from tests.docs.steps import steps
from tests.harness import REPOSITORY, Workspace


def _is_run(path: Path) -> bool:
    try:
        return any(not step.file for step in steps(Page.read(path)))
    except PageError:
        return True  # and it fails there


_RUN = [path for path in pages() if _is_run(path)]


@pytest.mark.timeout(300)  # where the pages take turns, one waits for the others
@pytest.mark.parametrize("path", _RUN, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_a_page_can_be_typed_from_top_to_bottom(path: Path, workspace: Workspace) -> None:
    typed = steps(Page.read(path))
    if shutil.which("curl") is None and any("curl " in step.script for step in typed):
        pytest.skip("its commands need curl (Debian: apt-get install curl)")
    Session(workspace).run(typed)
