from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from leash_shim.gateway.metric_files import allocate, clear_worker
from tests.harness import PYTHON
from tests.unit.leash_shim.gateway.figures import count

# A worker that ends calls, one after the other, and says so. It ends when nobody listens any more.
WORKER = """
import itertools
import os
import sys

os.environ["PROMETHEUS_MULTIPROC_DIR"] = sys.argv[1]

from leash.v1 import shim_pb2
from leash_shim.gateway.metrics import GatewayMetrics
from leash_shim.observer import Exchange

metrics = GatewayMetrics()
for number in itertools.count(1):
    exchange = Exchange(request_id=number.to_bytes(16, "big"), method="POST", path="/v1/messages")
    metrics.began(exchange)
    metrics.reserved(exchange, shim_pb2.Admitted(held_nanodollars=number), 0.001)
    exchange.decision, exchange.provider = "admitted", "anthropic"
    exchange.status, exchange.ended_ns = 100 + number % 500, exchange.started_ns + number
    metrics.ended(exchange)
    metrics.closed(exchange.request_id, shim_pb2.Closed(outcome="settled"), "settle", 0.002)
    print(number, flush=True)
"""


def scraped(directory: Path) -> dict[str, float]:
    """The figures of all files, by name and labels as they are written."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(directory))
    return {
        sample.name + "".join(f"[{label}={sample.labels[label]}]" for label in sorted(sample.labels)): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def test_what_a_worker_has_counted_outlives_it(tmp_path: Path) -> None:
    count(tmp_path, 11, "counter", 3, reason="stall")
    count(tmp_path, 11, "histogram", 2, le="0.5")
    count(tmp_path, 12, "counter", 4, reason="stall")
    count(tmp_path, 12, "counter", 1, reason="deadline")
    before = scraped(tmp_path)

    clear_worker(11, str(tmp_path))
    assert scraped(tmp_path) == before
    clear_worker(12, str(tmp_path))
    assert scraped(tmp_path) == before
    assert before["leash_counter[reason=stall]"] == 7


def test_what_a_worker_had_open_ends_with_it(tmp_path: Path) -> None:
    count(tmp_path, 11, "gauge_livesum", 5)
    count(tmp_path, 12, "gauge_livesum", 2)
    clear_worker(11, str(tmp_path))
    assert scraped(tmp_path) == {"leash_gauge": 2}


def test_a_worker_is_cleared_and_not_one_whose_number_ends_alike(tmp_path: Path) -> None:
    count(tmp_path, 112, "counter", 5)
    count(tmp_path, 112, "gauge_livesum", 5)
    clear_worker(12, str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"counter_112.db", "gauge_livesum_112.db"}


def test_the_files_are_bounded_however_often_a_worker_is_replaced(tmp_path: Path) -> None:
    for pid in range(1000, 1100):
        allocate(str(tmp_path), pid)
        count(tmp_path, pid, "counter", 1, reason="stall")
        clear_worker(pid, str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"counter_0.db", "histogram_0.db"}
    assert scraped(tmp_path) == {"leash_counter[reason=stall]": 100}
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1 << 17


def test_a_worker_that_died_before_it_counted_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "counter_11.new").write_bytes(b"")
    (tmp_path / "gauge_all_11.db").write_bytes(b"")
    clear_worker(11, str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_figures_that_cannot_be_kept_are_told_and_stop_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "counter_11.db").mkdir()
    clear_worker(11, str(tmp_path))
    assert caplog.messages == ["the figures of worker 11, which has ended, stay in files of their own: Is a directory"]


def test_the_files_have_room_before_anything_is_written(tmp_path: Path) -> None:
    allocate(str(tmp_path), 11)
    paths = sorted(tmp_path.iterdir())
    assert [path.name for path in paths] == ["counter_11.db", "gauge_livesum_11.db", "histogram_11.db"]
    for path in paths:
        # In blocks of 512 bytes: those of a hole are none.
        assert path.stat().st_blocks * 512 >= path.stat().st_size
    assert scraped(tmp_path) == {}


def test_a_scrape_while_a_worker_writes_never_goes_backwards(tmp_path: Path) -> None:
    with subprocess.Popen([PYTHON, "-c", WORKER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        ended = [0.0]
        for _ in range(60):
            told = float(worker.stdout.readline())
            figures = scraped(tmp_path)
            ended.append(figures["leash_calls_total[decision=admitted][provider=anthropic]"])
            assert ended[-1] >= max(told, ended[-2])
            assert figures["leash_requests_in_flight"] in (0, 1)
        worker.kill()
    figures = scraped(tmp_path)
    clear_worker(worker.pid, str(tmp_path))
    gauges = {"leash_requests_in_flight", "leash_held_cost_usd"}
    assert scraped(tmp_path) == {name: value for name, value in figures.items() if name not in gauges}
