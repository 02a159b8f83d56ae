"""``leashctl install-systemd`` under a real systemd: what it puts where, what systemd says of it, and what is left."""

from __future__ import annotations

import re

import pytest

from tests.systemd.machine import LEASHCTL, PREFIX, Machine

UNITS = "/usr/local/lib/systemd/system"
SERVICES = ("leashd.service", "leash-gateway.service", "leash-shim@.service")

# What each service may come to at most by `systemd-analyze security`: 2.0 is the bound for all of them, and this what
# each job allows.
MOST_EXPOSURE = {"leashd.service": 0.6, "leash-gateway.service": 1.1, "leash-shim@.service": 1.1}


@pytest.fixture
def installed(machine: Machine) -> Machine:
    """A machine with the services, none of which was started."""
    machine.run(LEASHCTL, "install-systemd")
    return machine


def test_an_installation_in_a_home_is_refused_before_anything_is_done(machine: Machine) -> None:
    machine.run("mkdir", "/root/leash")
    machine.run("sh", "-c", f"cp -r {PREFIX}/bin {PREFIX}/lib {PREFIX}/share {PREFIX}/pyvenv.cfg /root/leash")

    before = machine.run("ls", UNITS, check=False).stdout
    refused = machine.run("/root/leash/bin/python", "-m", "leashctl", "install-systemd", check=False)

    assert refused.returncode == 1
    assert "below /root, which services do not see" in refused.stderr
    assert "/usr/bin/python3 -m venv /opt/leash" in refused.stderr
    assert machine.run("ls", UNITS, check=False).stdout == before


def test_what_is_put_in_place_is_said_and_is_the_programs_own(machine: Machine) -> None:
    machine.run(LEASHCTL, "install-systemd", "--uninstall")
    machine.run("rm", "-rf", "/etc/leash")

    said = machine.run(LEASHCTL, "install-systemd").stdout

    for path in (f"{UNITS}/leashd.service", "/usr/local/lib/sysusers.d/leash.conf", "/etc/leash/leashd.toml"):
        assert f"{path}: installed" in said
    assert "systemctl enable --now leashd" in said
    assert f"ExecStart={PREFIX}/bin/leashd --system\n" in machine.read(f"{UNITS}/leashd.service")
    assert f"ExecStart={PREFIX}/bin/leashctl serve --run %i\n" in machine.read(f"{UNITS}/leash-shim@.service")
    groups = machine.run("id", "--groups", "--name", "leash-gateway").stdout.split()
    assert sorted(groups) == ["leash", "leash-admin", "leash-gateway"]
    assert machine.run("stat", "-c", "%a %U", "/etc/leash/gateway.tokens").stdout.split() == ["600", "root"]

    again = machine.run(LEASHCTL, "install-systemd").stdout
    assert f"{UNITS}/leashd.service: unchanged" in again
    assert "/etc/leash/leashd.toml: kept as it is" in again


def test_systemd_finds_nothing_to_say_of_the_units(installed: Machine) -> None:
    paths = [f"{UNITS}/{unit}" for unit in (*SERVICES, "leash-gateway.socket")]
    verified = installed.run("systemd-analyze", "verify", *paths, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")

    # The same question finds what it is asked for: its exit code alone would not tell.
    text = installed.read(f"{UNITS}/leashd.service")
    installed.write("/run/misspelt/leashd.service", text.replace("WatchdogSec=", "WatchdogSecs="))
    misspelt = installed.run("systemd-analyze", "verify", "/run/misspelt/leashd.service", check=False)
    assert "WatchdogSecs" in misspelt.stderr


@pytest.mark.parametrize("unit", SERVICES)
def test_a_service_is_exposed_no_more_than_its_job_wants(installed: Machine, unit: str) -> None:
    told = installed.run("systemd-analyze", "security", "--offline=yes", f"{UNITS}/{unit}").stdout
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", told)
    assert found, told
    assert float(found[1]) <= MOST_EXPOSURE[unit], told


def test_the_configuration_that_is_installed_can_be_used(installed: Machine) -> None:
    checked = installed.run(f"{PREFIX}/bin/leashd", "--system", "--check-config", check=False)
    assert (checked.returncode, checked.stderr) == (0, "")

    # With every setting that it offers turned on, too.
    example = installed.read("/etc/leash/leashd.toml")
    offered = re.sub(r"^# (?=\[|[a-z_]+ = )", "", example, flags=re.MULTILINE)
    assert offered.count("\n[limits]\n") == 1
    installed.write("/run/offered.toml", offered)
    installed.write("/etc/leash/prices.json", '{"demo-model": {"input": 10, "output": 30}}')
    checked = installed.run(
        f"{PREFIX}/bin/leashd", "--system", "--config", "/run/offered.toml", "--check-config", check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_it_is_taken_away_again_and_the_ledger_and_what_was_changed_stay(installed: Machine) -> None:
    installed.systemctl("enable", "--now", "leashd")
    installed.write("/etc/leash/nightly.env", "LEASH_LISTEN=127.0.0.1:8101\nLEASH_INSECURE=1\n", 0o600)
    installed.systemctl("enable", "--now", "leash-shim@nightly")
    installed.run("sh", "-c", "echo '# mine' >>/etc/leash/gateway.env")

    said = installed.run(LEASHCTL, "install-systemd", "--uninstall").stdout

    assert "stopped and disabled: " in said
    assert f"{UNITS}/leashd.service: removed" in said
    for unit in ("leashd", "leash-shim@nightly"):
        assert installed.property(unit, "ActiveState") == "inactive"
        assert installed.property(unit, "LoadState") == "not-found"
    left = installed.run("find", "/usr/local/lib", "/etc/systemd", "/run/leash", "-name", "*leash*", check=False).stdout
    assert left == ""
    settings = installed.run("ls", "/etc/leash").stdout.split()
    assert {"gateway.env", "gateway.tokens", "nightly.env"} <= {*settings}
    assert {"leashd.toml", "shim.env.example"} & {*settings} == set()
    installed.run("test", "-s", "/var/lib/leash/leash.db")
    assert "no unit of leash is below /usr/local" in installed.run(LEASHCTL, "install-systemd", "--uninstall").stdout
