"""What a refusal comes to in the official clients, unmodified and with the settings that they come with."""

from __future__ import annotations

import os

import pytest

from tests.sdk import table
from tests.sdk.matrix import CLIENTS, Client
from tests.sdk.measuring import Bench

# The first test waits for the environments to be built.
pytestmark = pytest.mark.timeout(600)

clients = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.program)


@clients
def test_a_final_refusal_costs_one_request_or_the_number_that_is_documented(client: Client, bench: Bench) -> None:
    final = bench.final(client)
    assert (len(final.whole_statuses), len(final.stream_statuses)) == (client.requests, client.requests), final


@clients
def test_the_person_reads_what_stopped_the_run(client: Client, bench: Bench) -> None:
    final = bench.final(client)
    assert final.sentence in final.whole
    assert final.sentence in final.stream


@clients
def test_a_transient_refusal_is_tried_again_and_answered(client: Client, bench: Bench) -> None:
    transient = bench.transient(client)
    if client.retries:
        assert transient.answered, transient
        assert transient.statuses[0] == 429
        assert transient.statuses[-1] == 200
    else:
        assert transient.sentence in transient.refused, transient
        assert transient.statuses == (429,)


def test_the_documentation_shows_what_was_measured(bench: Bench) -> None:
    """``LEASH_UPDATE_DOCS=1`` writes it anew."""
    measured = {client: (bench.final(client), bench.transient(client)) for client in CLIENTS}
    page = table.PAGE.read_text(encoding="utf-8")
    expected = table.filled(page, table.parts(measured))
    if os.environ.get("LEASH_UPDATE_DOCS") == "1":
        table.PAGE.write_text(expected, encoding="utf-8")
        return
    assert page == expected, "docs/clients.md differs from what was measured: LEASH_UPDATE_DOCS=1 writes it anew"
