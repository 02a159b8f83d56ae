"""The files by which leash is deployed agree with the program, and with the pages that speak of them."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import click
import pytest
import yaml

from leash.prices import parse_table
from leash_shim.gateway.tokens import parse_tokens
from leashctl.main import leash
from tests.harness import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "compose.yaml").read_text(encoding="utf-8"))
UID = 10001


def instructions(name: str) -> list[str]:
    """What a Dockerfile's instructions of one name say, in their order, each on one line."""
    joined = re.sub(r"\\\n\s*(#.*\n\s*)*", "", DOCKERFILE)
    return [line.split(maxsplit=1)[1] for line in joined.splitlines() if line.startswith(f"{name} ")]


def manifests(name: str) -> dict[str, dict[str, Any]]:
    """The manifests in a file, by their kind."""
    text = (DEPLOY / "kubernetes" / name).read_text(encoding="utf-8")
    return {manifest["kind"]: manifest for manifest in yaml.safe_load_all(text)}


SIDECAR, GATEWAY = manifests("sidecar.yaml"), manifests("gateway.yaml")
SIDECAR_POD = SIDECAR["Job"]["spec"]["template"]["spec"]
GATEWAY_POD = GATEWAY["Deployment"]["spec"]["template"]["spec"]


def parsed(arguments: list[str]) -> dict[str, Any]:
    """The flags of a command line of ``leash``. Raises what a person would be told."""
    command = leash.get_command(click.Context(leash), arguments[0])
    assert command is not None, arguments
    return command.make_context(arguments[0], arguments[1:], resilient_parsing=False).params


def seconds(nanoseconds: int) -> float:
    return nanoseconds / 1e9


def test_the_image_is_built_of_nothing_that_is_fetched_by_url_and_runs_as_nobody_special() -> None:
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, flags=re.MULTILINE)) == {"debian:bookworm-slim"}
    assert instructions("ADD") == []
    assert instructions("USER") == [f"{UID}:{UID}"]
    assert instructions("VOLUME") == ['["/data"]']
    assert instructions("STOPSIGNAL") == ["SIGTERM"]
    assert json.loads(instructions("ENTRYPOINT")[0])[0] == "/usr/bin/tini"
    assert instructions("HEALTHCHECK")[0].endswith('CMD ["leash", "healthcheck"]')


def test_the_image_says_where_the_program_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    [environment] = instructions("ENV")
    for name, value in (word.split("=", 1) for word in shlex.split(environment)):
        if name.startswith("LEASH_"):
            monkeypatch.setenv(name, value)

    flags = parsed(["serve", "--insecure"])

    assert instructions("EXPOSE") == [f"{flags['listen'].port} {flags['admin'].port}"]
    assert not flags["listen"].host
    assert not flags["admin"].host


def test_all_that_the_image_is_copied_from_goes_to_the_builder() -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [words[:-1] for line in instructions("COPY") if "--from" not in line for words in [line.split()]]
    sources = [word for words in copied for word in words if not word.startswith("--")]

    assert "*" in ignored
    for source in sources:
        assert (REPOSITORY / source).exists()
        assert any(line.startswith(f"!{source}") for line in ignored), source


@pytest.mark.parametrize("service", ["gateway", "provider"])
def test_a_composed_container_is_given_flags_that_there_are(service: str) -> None:
    definition = COMPOSE["services"][service]

    assert parsed(shlex.split(definition["command"]))
    assert definition["read_only"]
    assert definition["cap_drop"] == ["ALL"]


def test_the_composed_gateway_has_time_to_end_and_is_reached_from_its_host_alone() -> None:
    gateway = COMPOSE["services"]["gateway"]
    flags = parsed(shlex.split(gateway["command"]))

    assert flags["insecure"]
    assert all(port.startswith("127.0.0.1:") for port in gateway["ports"])
    assert float(gateway["stop_grace_period"].removesuffix("s")) > seconds(flags["shutdown_timeout"])
    mounted = [volume.split(":")[0] for volume in gateway["volumes"] if volume.startswith("./")]
    for path in mounted:
        assert parse_table((REPOSITORY / path).read_bytes())


@pytest.mark.parametrize(
    ("pod", "container"),
    [(SIDECAR_POD, SIDECAR_POD["initContainers"][0]), (GATEWAY_POD, GATEWAY_POD["containers"][0])],
    ids=["sidecar", "gateway"],
)
def test_a_pod_is_strict_and_has_time_to_end(pod: dict[str, Any], container: dict[str, Any]) -> None:
    flags = parsed(container["args"])
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}

    assert pod["terminationGracePeriodSeconds"] > seconds(flags["drain_delay"] + flags["shutdown_timeout"])
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["securityContext"]["fsGroup"] == UID
    assert container["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": UID,
        "runAsGroup": UID,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"/data", "/tmp"} <= mounts
    assert flags["auth_token_file"].rpartition("/")[0] in mounts
    assert container["startupProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"


def test_the_sidecar_is_for_its_own_pod_and_ends_after_the_agent() -> None:
    leash_container = SIDECAR_POD["initContainers"][0]
    environment = {each["name"]: each.get("value") for each in leash_container["env"]}

    assert leash_container["restartPolicy"] == "Always"
    assert environment["LEASH_LISTEN"] == "127.0.0.1:8088"


@pytest.mark.parametrize("manifest", [SIDECAR, GATEWAY], ids=["sidecar", "gateway"])
def test_tokens_and_prices_of_a_pod_can_be_read(manifest: dict[str, dict[str, Any]]) -> None:
    _, warnings = parse_tokens(manifest["Secret"]["stringData"]["tokens"], source="tokens")

    assert warnings == []
    assert parse_table(manifest["ConfigMap"]["data"]["prices.json"].encode())


def test_one_gateway_opens_the_ledger() -> None:
    deployment = GATEWAY["Deployment"]["spec"]

    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    assert GATEWAY["PersistentVolumeClaim"]["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert GATEWAY["NetworkPolicy"]["spec"]["policyTypes"] == ["Egress"]


@pytest.mark.parametrize("page", ["gateway.md", "container.md", "operations.md"])
def test_a_page_names_flags_that_there_are(page: str) -> None:
    known = {"--help", "--version"}
    for name in leash.list_commands(click.Context(leash)):
        command = leash.get_command(click.Context(leash), name)
        assert command is not None
        known |= {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    of_others = {
        "--cap-drop",
        "--detach",
        "--entrypoint",
        "--format",
        "--name",
        "--profile",
        "--read-only",
        "--rm",
        "--secret",
    }
    of_others |= {"--security-opt", "--signal", "--stop-timeout", "--tmpfs", "--user", "--ledger"}

    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", (REPOSITORY / "docs" / page).read_text(encoding="utf-8")))

    assert named - known - of_others == set()


def test_each_alert_has_its_part_of_the_operations_page() -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "leash.rules.yml").read_text(encoding="utf-8"))
    page = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    headings = set(re.findall(r"^#+ (.*)$", page, flags=re.MULTILINE))

    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        assert rule["annotations"]["runbook"] == f"docs/operations.md#{rule['alert'].lower()}"
        assert rule["alert"] in headings


def test_links_between_the_pages_lead_somewhere() -> None:
    for page in ("gateway.md", "container.md", "operations.md"):
        text = (REPOSITORY / "docs" / page).read_text(encoding="utf-8")
        for path, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text):
            target = (REPOSITORY / "docs" / (path or page)).resolve()
            assert target.exists(), (page, path)
            if anchor:
                assert anchor in anchors(target.read_text(encoding="utf-8")), (page, path, anchor)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", ["nginx.conf", "Caddyfile"])
def test_a_proxy_streams_is_patient_and_keeps_tokens_out_of_its_log(name: str) -> None:
    text = (DEPLOY / "proxy" / name).read_text(encoding="utf-8")
    wanted = {
        "nginx.conf": (
            "proxy_buffering off;",
            "proxy_request_buffering off;",
            "proxy_read_timeout 11m;",
            "proxy_next_upstream off;",
            "client_max_body_size 0;",
            "access_log /var/log/nginx/leash.log leash;",
        ),
        "Caddyfile": (
            "flush_interval -1",
            "response_header_timeout 11m",
            "request>headers delete",
            "exclude http.log.error",
            "header_up -X-Forwarded-For",
        ),
    }

    assert [line for line in wanted[name] if line not in text] == []
    assert seconds(parsed(["serve", "--insecure"])["upstream_header_timeout"]) < 11 * 60
