"""``leashctl install-systemd`` where nobody is root: files below a prefix, and what it refuses."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from leashctl import installation, systemd_services
from leashctl.main import leashctl
from tests.harness import REPOSITORY


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the package brings is where this tree has it."""
    (tmp_path / "share").mkdir()
    (tmp_path / "share" / "systemd").symlink_to(REPOSITORY / "systemd")
    monkeypatch.setattr(systemd_services, "shared_files", lambda: tmp_path / "share")


def install(*arguments: str) -> Result:
    return CliRunner().invoke(leashctl, ["install-systemd", *arguments])


def test_below_a_prefix_of_ones_own_files_are_put_and_taken_away_and_nothing_else(tmp_path: Path) -> None:
    prefix = tmp_path / "staging" / "usr"
    told = install("--prefix", str(prefix))
    assert told.exit_code == 0, told.output
    put = sorted(str(path.relative_to(prefix)) for path in prefix.rglob("*") if path.is_file())
    assert put == [
        "etc/leash/gateway.env",
        "etc/leash/leashd.toml",
        "etc/leash/shim.env.example",
        "lib/systemd/system/leash-gateway.service",
        "lib/systemd/system/leash-gateway.socket",
        "lib/systemd/system/leash-shim@.service",
        "lib/systemd/system/leashd.service",
        "lib/sysusers.d/leash.conf",
        "lib/tmpfiles.d/leash.conf",
    ]
    assert all(f"{prefix / path}: installed" in told.output for path in put)
    modes = {path: stat.S_IMODE((prefix / path).stat().st_mode) for path in put}
    assert {path for path, mode in modes.items() if mode == 0o600} == {
        "etc/leash/gateway.env",
        "etc/leash/shim.env.example",
    }
    unit = (prefix / "lib/systemd/system/leashd.service").read_text()
    [command] = re.findall(r"^ExecStart=(\S+) --system$", unit, re.MULTILINE)
    assert os.access(command, os.X_OK)

    gone = install("--prefix", str(prefix), "--uninstall")
    assert gone.exit_code == 0, gone.output
    assert [path for path in prefix.rglob("*") if path.is_file()] == []


def test_what_is_put_may_be_read_whatever_the_umask_and_a_link_of_the_administrators_stays(tmp_path: Path) -> None:
    prefix = tmp_path / "usr"
    settings = prefix / "etc" / "leash"
    settings.mkdir(parents=True)
    (settings / "leashd.toml").symlink_to("/not/mounted/leashd.toml")
    before = os.umask(0o077)
    try:
        told = install("--prefix", str(prefix))
    finally:
        os.umask(before)
    assert told.exit_code == 0, told.output
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (prefix / "lib").rglob("*") if path.is_dir()}
    assert {*modes.values()} == {0o755}
    assert (settings / "leashd.toml").is_symlink()


def test_a_file_that_is_no_text_is_neither_kept_from_an_upgrade_nor_taken_away(tmp_path: Path) -> None:
    prefix = tmp_path / "usr"
    assert install("--prefix", str(prefix)).exit_code == 0
    unit, settings = prefix / "lib/systemd/system/leashd.service", prefix / "etc/leash/gateway.env"
    for path in (unit, settings):
        path.write_bytes(b"\xff")
    told = install("--prefix", str(prefix))
    assert f"{unit}: replaced" in told.output
    gone = install("--prefix", str(prefix), "--uninstall")
    assert gone.exit_code == 0, gone.output
    assert not unit.exists()
    assert settings.read_bytes() == b"\xff"


def test_services_of_the_host_are_roots_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    refused = install()
    assert refused.exit_code == 1
    assert "sudo " in refused.output
    assert " install-systemd` (--prefix DIR" in refused.output


def test_an_installation_without_its_units_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd_services, "shared_files", lambda: tmp_path / "nothing")
    refused = install("--prefix", str(tmp_path / "staging"))
    assert refused.exit_code == 1
    assert "pip install --force-reinstall leash-governor" in refused.output


def test_programs_with_odd_paths_are_written_as_systemd_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd_services, "program", lambda name: [f'/opt/50% "of" it/{name}', "-m", "$x"])
    text = systemd_services._with_programs("[Service]\nExecStart=/usr/bin/leashd --system\n#ExecStart=/usr/bin/other\n")
    assert 'ExecStart="/opt/50%% \\"of\\" it/leashd" -m "$$x" --system\n' in text
    assert text.endswith("#ExecStart=/usr/bin/other\n")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/home/alice/.venv/bin/python", "below /home"),
        ("/root/.local/share/pipx", "below /root"),
        ("/tmp/x", "below /tmp"),
        ("/usr/bin", ""),
    ],
)
def test_what_services_do_not_see_is_told(path: str, reason: str) -> None:
    assert reason in installation._out_of_reach(Path(path))
    assert bool(reason) is bool(installation._out_of_reach(Path(path)))


def test_what_others_may_not_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "_HIDDEN", ())
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "python").touch()
    assert f"{closed} may not be read by other users" in installation._out_of_reach(closed / "python")


def test_the_programs_are_found_without_a_path() -> None:
    for name in ("leashd", "leashctl"):
        shown = subprocess.run(
            [*installation.program(name), "--version"], check=True, capture_output=True, text=True, env={}
        )
        assert shown.stdout.startswith(f"{name}")
    assert str(installation.shared_files()).startswith(sys.prefix)
