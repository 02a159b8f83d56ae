from __future__ import annotations

import re
import subprocess
import sysconfig
import tomllib
from pathlib import Path

import pytest

from tests.harness import PYTHON, REPOSITORY

LINT_IMPORTS = str(Path(sysconfig.get_path("scripts")) / "lint-imports")


@pytest.mark.timeout(300)  # mypy reads every dependency's types the first time
@pytest.mark.parametrize(
    "command",
    [
        (PYTHON, "-m", "ruff", "check"),
        (PYTHON, "-m", "ruff", "format", "--check"),
        (PYTHON, "-m", "mypy"),
        (LINT_IMPORTS,),
    ],
    ids=["lint", "format", "types", "imports"],
)
def test_the_tree_passes(command: tuple[str, ...]) -> None:
    check = subprocess.run(
        command, check=False, cwd=REPOSITORY, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )

    assert check.returncode == 0, check.stdout + check.stderr


def test_each_dependency_has_its_reason_in_the_records() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    declared = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["test"],
    ]
    record = (REPOSITORY / "docs" / "adr" / "0007-dependencies.md").read_text(encoding="utf-8")
    first_cells = ", ".join(re.findall(r"^\| ([^|]+) \|", record, flags=re.MULTILINE)).split(", ")

    names = [re.split(r"[><=\[]", requirement)[0] for requirement in declared]

    assert [name for name in names if name not in first_cells] == []
