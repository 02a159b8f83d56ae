"""What is handed to an operator is about what there is: the page, the dashboard and the alerts name the metrics that a
gateway has, with the labels that those have, and the alerts fire when they are said to."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import yaml
from prometheus_client import generate_latest

from leash.v1 import shim_pb2
from leash_shim.gateway import metrics
from leash_shim.gateway.admin import Told
from leash_shim.gateway.metrics import GatewayMetrics
from leash_shim.observer import DECISIONS
from tests.harness import REPOSITORY

RULES = REPOSITORY / "deploy" / "prometheus" / "leash.rules.yml"
RULES_TEST = RULES.with_name("leash.rules.test.yml")
DASHBOARD = json.loads((REPOSITORY / "deploy" / "grafana" / "leash.json").read_text(encoding="utf-8"))
PAGE = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")

ALERTS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

# What Prometheus gives every series.
TARGET_LABELS = {"job", "instance"}
# The first release of Grafana 10.
GRAFANA_SCHEMA = 38

PROBED = shim_pb2.Probed(open_runs=1, commits=1, operations=1, commits_by_size=[1] + [0] * 12)

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SELECTOR = re.compile(r"\b(up|leash_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)(?:=~|!~|!=|=)"[^"]*"')
_GROUPED = re.compile(r"\b(?:by|ignoring)\s*\(([^)]*)\)")


class Kind(NamedTuple):
    """A metric's type, and its own labels."""

    type: str
    labels: frozenset[str]


def registered() -> dict[str, Kind]:
    """Every metric that a gateway has, by the name that it is asked for."""
    counted = GatewayMetrics()
    kinds = {}
    told = Told(PROBED, is_draining=False, version="1.2.3")
    for family in itertools.chain(counted.registry.collect(), told.collect()):
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        kinds[family.name + "_total" * (family.type == "counter")] = Kind(family.type, frozenset(labels))
    return kinds


REGISTERED = registered()


def expressions() -> Iterator[tuple[str, str]]:
    """Every PromQL expression that is handed out, with whose it is; variables of the dashboard are filled in."""
    for alert in ALERTS:
        yield alert["alert"], alert["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")


def names_in(expression: str) -> set[str]:
    """The metrics that an expression asks for."""
    return {name for name, _ in _SELECTOR.findall(expression)} - {"up"}


def metric_of(name: str) -> tuple[Kind, set[str]] | None:
    """The metric that has samples of this name, and the labels of those beside its own."""
    if name in REGISTERED and REGISTERED[name].type != "histogram":
        return REGISTERED[name], set()
    for suffix, labels in (("_bucket", {"le"}), ("_sum", set()), ("_count", set())):
        kind = REGISTERED.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
        if kind is not None and kind.type == "histogram":
            return kind, labels
    return None


def labels_of(name: str) -> set[str]:
    """The labels that samples of this name have in Prometheus."""
    if name == "up":
        return TARGET_LABELS
    found = metric_of(name)
    assert found is not None, f"no metric has samples named {name}"
    return {*found[0].labels, *found[1], *TARGET_LABELS}


def table(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading of the page."""
    _, _, section = PAGE.partition(f"{heading}\n")
    lines = itertools.dropwhile(lambda line: not line.startswith("|"), section.splitlines())
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines)
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in itertools.islice(rows, 2, None)]


def quoted(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def test_the_page_describes_every_metric_and_no_other() -> None:
    described = {row[0].strip("`"): Kind(row[1], frozenset(quoted(row[2]))) for row in table("## What is measured")}
    assert described == REGISTERED


def test_the_page_names_every_value_of_a_label() -> None:
    values = {row[0]: quoted(row[1]) for row in table("### Values of the labels")}
    assert set(DECISIONS) == values["`decision`"]
    assert set(metrics.PROVIDERS) == values["`provider`"]
    assert set(metrics.REASONS) == values["`reason`"]
    assert set(metrics.TOKEN_KINDS) == values["`kind` of tokens"]
    assert set(metrics.ERROR_KINDS) == values["`kind` of errors"]
    assert values["`code`"] == {metrics.OTHER}


def test_the_page_lists_the_alerts() -> None:
    listed = {row[0].strip("`"): row[1] for row in table("## Alerts")}
    assert listed == {alert["alert"]: alert["labels"]["severity"] for alert in ALERTS}


@pytest.mark.parametrize("expression", [pytest.param(text, id=whose) for whose, text in expressions()])
def test_an_expression_asks_for_what_there_is(expression: str) -> None:
    selectors = _SELECTOR.findall(expression)
    assert selectors
    for name, matchers in selectors:
        assert set(_MATCHER.findall(matchers)) <= labels_of(name), name
    together = set.union(*(labels_of(name) for name, _ in selectors))
    grouped = {label for group in _GROUPED.findall(expression) for label in _WORD.findall(group)}
    assert grouped <= together


def test_the_dashboard_shows_every_metric() -> None:
    shown = {name for panel in PANELS for target in panel["targets"] for name in names_in(target["expr"])}
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown} == set(REGISTERED)


def test_every_legend_is_of_labels_that_the_series_have() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            grouped = {
                label for group in re.findall(r"\bby\s*\(([^)]*)\)", target["expr"]) for label in _WORD.findall(group)
            }
            assert legend <= grouped, panel["title"]


def test_the_dashboard_asks_the_prometheus_that_is_chosen() -> None:
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables.keys() == {"datasource", "job", "instance"}
    assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    asking = [
        *PANELS,
        *(target for panel in PANELS for target in panel["targets"]),
        variables["job"],
        variables["instance"],
    ]
    assert [asks for asks in asking if asks["datasource"] != chosen] == []
    for panel in PANELS:
        for target in panel["targets"]:
            for _, matchers in _SELECTOR.findall(target["expr"]):
                assert matchers.startswith('job=~"$job", instance=~"$instance"'), panel["title"]


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    assert DASHBOARD["schemaVersion"] >= GRAFANA_SCHEMA
    assert DASHBOARD["uid"]
    assert "id" not in DASHBOARD  # it would replace another one of that number
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        cells = set(
            itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))
        )
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_alert_says_what_is_wrong_and_where_to_read_on() -> None:
    operations = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    anchors = {heading.lower() for heading in re.findall(r"^#+ `?(\w+)`?$", operations, flags=re.MULTILINE)}
    for alert in ALERTS:
        annotations = alert["annotations"]
        assert annotations.keys() == {"summary", "description", "runbook"}, alert["alert"]
        page, _, anchor = annotations["runbook"].partition("#")
        assert (page, anchor) == ("docs/operations.md", alert["alert"].lower())
        assert anchor in anchors


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize(
    "arguments", [("check", "rules", RULES), ("test", "rules", RULES_TEST)], ids=["rules", "alerts"]
)
def test_promtool_passes(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_no_fault_with_the_metrics() -> None:
    counted = GatewayMetrics()
    counted.registry.register(Told(PROBED, is_draining=False, version="1.2.3"))
    figures = generate_latest(counted.registry)
    done = subprocess.run(["promtool", "check", "metrics"], check=False, input=figures, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
