"""The tables of endpoints: none stands behind another that hides it, and each sentence reads as it is shown."""

from __future__ import annotations

import time

import pytest

from leash_shim.meter import RouteKind, route
from leash_shim.meter.endpoints import FREE_POST, METERED, SOCKET, UNKNOWN, UNMETERABLE


def test_each_format_has_one_name_and_one_provider() -> None:
    providers: dict[str, set[str]] = {}
    for _, wire_format, provider in METERED:
        providers.setdefault(wire_format.name, set()).add(provider)
    assert all(len(each) == 1 for each in providers.values())
    assert len({id(wire_format) for _, wire_format, _ in METERED}) == len(providers)


@pytest.mark.parametrize("why", [*(sentence for _, sentence in UNMETERABLE), UNKNOWN])
def test_a_sentence_goes_on_after_a_comma(why: str) -> None:
    # What follows is ", or let it through unmetered with --on-blind allow".
    assert why == why.strip()
    assert not why.endswith((".", ",", ";"))
    assert "  " not in why


# Every POST of OpenAI's client that generates, trains, stores or runs something, and where it may not be free.
BILLS = """agents agents/sessions agents/a_1 agents/automations/a_1/invocations agents/environments/e_1/files assistants
audio/translations audio/voices batches chat/completions/c_1 chatkit/sessions containers containers/c_1/files
content_provenance_checks conversations conversations/c_1/items decisions evals evals/e_1/runs fine_tuning/jobs
fine_tuning/jobs/j_1/resume fine_tuning/alpha/graders/run images/variations live/sessions live/sessions/s_1/fork
organization/projects realtime/calls realtime/client_secrets realtime/sessions skills threads threads/runs
threads/t_1/messages threads/t_1/runs/r_1/submit_tool_outputs vaults vector_stores vector_stores/v_1/file_batches
vector_stores/v_1/files vector_stores/v_1/search videos videos/edits videos/v_1/remix webhook_endpoints""".split()  # noqa: SIM905 - a line for each says no more

FREE = """batches/b_1/cancel files fine_tuning/jobs/j_1/cancel fine_tuning/jobs/j_1/pause moderations
responses/input_tokens responses/r_1/cancel uploads uploads/u_1/cancel uploads/u_1/complete uploads/u_1/parts""".split()  # noqa: SIM905 - as above


@pytest.mark.parametrize("prefix", ["/v1/", "/openai/v1/", "/"])
@pytest.mark.parametrize("end", BILLS)
def test_no_endpoint_that_may_bill_is_free(prefix: str, end: str) -> None:
    found = route("POST", prefix + end)
    assert found.kind is RouteKind.UNMETERABLE
    assert found.why


@pytest.mark.parametrize("prefix", ["/v1/", "/openai/v1/", "/"])
@pytest.mark.parametrize("end", FREE)
def test_what_generates_nothing_is_free(prefix: str, end: str) -> None:
    assert route("POST", prefix + end).kind is RouteKind.FREE


@pytest.mark.parametrize("end", FREE)
def test_what_is_free_is_so_only_right_after_a_version_or_a_provider(end: str) -> None:
    assert route("POST", f"/v1/vector_stores/vs_1/{end}").kind is not RouteKind.FREE
    assert route("POST", f"/v1/{end}/x/y").kind is not RouteKind.FREE


@pytest.mark.parametrize(
    "path", ["/threads" * 4_000, "/a:b" * 8_000, "/v1" * 8_000, "/%25" * 8_000, "/x" + "a:" * 16_000]
)
@pytest.mark.parametrize("end", ["/messages", "/chat/completions", ":generateContent", "/x", ""])
def test_a_long_path_takes_no_long_time(path: str, end: str) -> None:
    # A server takes 64 KiB of headers at most.
    start = time.perf_counter()
    for pattern in (FREE_POST, SOCKET, *(row[0] for row in METERED), *(row[0] for row in UNMETERABLE)):
        pattern.search(path + end)
    route("POST", path + end)
    assert time.perf_counter() - start < 1
