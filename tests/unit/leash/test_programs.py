from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from leash.programs import ARTEFACT_VARIABLE, command, is_frozen, typed


@pytest.mark.parametrize("module", ["leashd", "leashctl"])
def test_a_program_is_of_this_installation_whatever_lies_in_the_working_directory(module: str, tmp_path: Path) -> None:
    (tmp_path / module).mkdir()
    (tmp_path / module / "__init__.py").write_text("raise SystemExit('the wrong one')", encoding="utf-8")
    started = subprocess.run(command(module, "--version"), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (started.returncode, started.stderr) == (0, "")
    assert module in started.stdout
    assert not is_frozen()


def test_a_person_types_the_name_where_it_is_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(ARTEFACT_VARIABLE, raising=False)
    assert typed("leash") == str(Path(sys.executable).with_name("leash"))
    monkeypatch.setenv(ARTEFACT_VARIABLE, "./leash-linux-x86_64")
    assert typed("leash") == "./leash-linux-x86_64"
    (tmp_path / "leash").symlink_to(shutil.which("true", path="/usr/bin:/bin") or "/bin/true")
    assert typed("leash") == "leash"
