"""The workflows agree with the package, with the pages that speak of them, and with what there is in this checkout."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml

from tests.harness import REPOSITORY

WORKFLOWS = REPOSITORY / ".github" / "workflows"
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
INSTALL = (REPOSITORY / "docs" / "install.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# A file of this repository as a command names it.
_PATH = re.compile(r"(?<![\w./$-])((?:\.ci|\.github|deploy|tests)/[\w./-]+)")


def workflow(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((WORKFLOWS / name).read_text(encoding="utf-8"))
    return document


CI, RELEASE = workflow("ci.yml"), workflow("release.yml")
JOBS = [
    (f"{name}:{job}", body) for name, flow in (("ci", CI), ("release", RELEASE)) for job, body in flow["jobs"].items()
]


def steps(body: dict[str, Any]) -> list[dict[str, Any]]:
    return list(body.get("steps", ()))


def commands(body: dict[str, Any]) -> str:
    return "\n".join(step["run"] for step in steps(body) if "run" in step)


def test_every_python_that_is_promised_is_tested_on_linux_and_macos() -> None:
    matrix = CI["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert PROJECT["requires-python"] == f">={matrix['python'][0]}"
    assert any(os.startswith("ubuntu") for os in matrix["os"])
    assert any(os.startswith("macos") for os in matrix["os"])


def test_the_commands_of_the_readme_are_those_that_are_run() -> None:
    [demo] = [line for line in README.splitlines() if "/leash demo" in line and "pip install" in line]
    [tests] = [line for line in README.splitlines() if " -m pytest" in line]
    ran = commands(CI["jobs"]["tests"])
    assert demo.replace("python3 -m venv", "python -m venv") in ran.splitlines()
    assert tests in ran.splitlines()


@pytest.mark.parametrize(("name", "body"), JOBS)
def test_a_job_ends_and_may_do_no_more_than_it_needs(name: str, body: dict[str, Any]) -> None:
    if "uses" not in body:
        assert body["timeout-minutes"] <= 60, name
    permissions = body.get("permissions", CI["permissions"] if name.startswith("ci:") else RELEASE["permissions"])
    # The jobs that build run code of the index; those that may write or sign run none of it.
    if "write" in permissions.values():
        assert not re.search(r"\bpip install\b|-m pytest|build\.py", commands(body)), name


@pytest.mark.parametrize(("name", "body"), JOBS)
def test_what_a_job_uses_is_named_by_its_content_and_is_there(name: str, body: dict[str, Any]) -> None:
    for step in steps(body):
        if "uses" in step:
            assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", step["uses"]), f"{name}: {step['uses']}"
    for path in _PATH.findall(commands(body)):
        assert (REPOSITORY / path).exists(), f"{name}: there is no {path}"


def test_the_page_on_installing_names_what_a_release_has() -> None:
    files = {
        f"leash-linux-{entry['machine']}" for entry in RELEASE["jobs"]["one-file"]["strategy"]["matrix"]["include"]
    }
    signed = set(re.findall(r"leash-linux-\w+", commands(RELEASE["jobs"]["release"])))
    assert files == signed == set(re.findall(r"leash-linux-\w+", INSTALL))
    assert "/.github/workflows/release.yml@refs/tags/v$version" in INSTALL
    assert RELEASE[True]["push"]["tags"] == ["v*"]  # YAML takes the key `on` for a truth value
