"""leashd is killed at every step between a stop and its delivery: the notice comes, at least once, with one id."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from tests.e2e.raw_daemon import Shim
from tests.e2e.reactions.conftest import CALL, Scene
from tests.harness import wait_until

POINTS = Path(__file__).with_name("points")
STEPS = (
    "after_stop_is_committed",
    "during_webhook",
    "after_webhook",
    "during_hook",
    "before_hook_recorded_is_committed",
)
MORE_STEPS = (
    "before_stop_is_committed",
    "before_it_is_queued",
    "after_it_is_queued",
    "before_webhook",
    "before_webhook_recorded_is_committed",
    "after_webhook_recorded_is_committed",
    "before_hook",
    "after_hook",
    "after_hook_recorded_is_committed",
)


@pytest.mark.parametrize("step", [*STEPS, *(pytest.param(step, marks=pytest.mark.long) for step in MORE_STEPS)])
def test_a_stop_is_told_whenever_leashd_is_killed(scene: Scene, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    monkeypatch.setenv("PYTHONPATH", str(POINTS))
    monkeypatch.setenv("PYTHON_REACTION_STEPS", str(scene.root))
    armed = scene.root / step
    armed.touch()
    first = scene.place.serve()
    shim = Shim(scene.place)
    # Each takes half a second, so that there is something to be killed in the midst of.
    scene.open(shim, scene.reactions(scene.url("slow"), scene.hook("sleep 0.5")), max_calls=1)
    shim.reserve(CALL)
    shim.settle(CALL)
    with suppress(grpc.RpcError):  # it may be killed before it answers
        shim.reserve(bytes([1]) * 16)

    assert first.wait() == -signal.SIGKILL
    assert not armed.exists()
    shim.close()
    scene.place.serve()
    again = Shim(scene.place, shim.secret)
    again.open()
    refused = again.reserve(bytes([2]) * 16)

    assert refused.refused.calls == 1, refused
    scene.wait_told()
    posts, hooks = scene.posted("stopped"), scene.hook_lines("stopped")
    assert 1 <= len(posts) <= 2, posts
    assert 1 <= len(hooks) <= 2, hooks
    assert {post["id"] for post in posts} == {post["told"]["id"] for post in posts} == {hooks[0].split()[1]}
    assert len(set(hooks)) == len({post["body"] for post in posts}) == 1
    assert all(post["signed"] for post in posts)
    print(f"{step}: {len(posts)} by webhook, {len(hooks)} by hook, one id")
    again.close()


def test_without_a_kill_it_is_told_once(scene: Scene) -> None:
    scene.place.serve()
    shim = Shim(scene.place)
    scene.open(shim, scene.reactions(scene.url(), scene.hook()), max_calls=1)
    shim.reserve(CALL)
    shim.settle(CALL)
    shim.reserve(bytes([1]) * 16)
    wait_until(lambda: scene.posted("stopped") and scene.hook_lines("stopped"), "both are told")
    scene.wait_told()

    assert len(scene.posted("stopped")) == len(scene.hook_lines("stopped")) == 1
    shim.close()


@pytest.mark.long
@pytest.mark.timeout(240)
def test_an_endpoint_that_is_away_for_a_minute_is_told_though_leashd_is_killed_meanwhile(scene: Scene) -> None:
    daemon = scene.place.serve()
    scene.stop_receiving()
    shim = Shim(scene.place)
    scene.open(shim, scene.reactions(scene.url()), max_calls=1)
    shim.reserve(CALL)
    shim.settle(CALL)
    assert shim.reserve(bytes([1]) * 16).HasField("refused")
    [before] = scene.notices()
    for _ in range(3):
        time.sleep(20)
        daemon.kill()
        daemon = scene.place.serve()
    scene.receive(scene.port)
    back_s = time.monotonic()
    wait_until(scene.posted, "it is told", timeout_s=100)

    [post] = scene.posted()
    assert (post["id"], post["told"]["event"], post["signed"]) == (before.id, "stopped", True)
    print(f"told {time.monotonic() - back_s:.1f} s after the endpoint was back")
    shim.close()
