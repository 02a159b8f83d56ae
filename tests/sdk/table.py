"""What was measured, as the documentation shows it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from leash_shim.refusal import CLIENT_RULES
from tests.harness import REPOSITORY
from tests.sdk.environments import version
from tests.sdk.matrix import CLIENTS, Client
from tests.sdk.measuring import Final, Transient

PAGE = REPOSITORY / "docs" / "clients.md"

# The run of the examples; each client has one of its own.
_RUN = "nightly"

Measured = Mapping[Client, tuple[Final, Transient]]


def filled(page: str, parts: Mapping[str, str]) -> str:
    """The page with each part put between its marks. ValueError where one is missing."""
    for name, content in parts.items():
        begin, end = f"<!-- {name}: written by tests/sdk -->\n", f"<!-- end of {name} -->\n"
        head, found, rest = page.partition(begin)
        _, closed, tail = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"{PAGE.name} has no place for {name!r}")
        page = f"{head}{begin}\n{content}\n{end}{tail}"
    return page


def parts(measured: Measured) -> dict[str, str]:
    """The page's measured parts, by the names of their places."""
    return {"matrix": _matrix(measured), "statuses": _statuses(), "texts": _texts(measured)}


def _matrix(measured: Measured) -> str:
    rows = [
        "| client | version | requests for a final refusal | its status | after a transient refusal | no retries |",
        "|---|---|---|---|---|---|",
    ]
    for client in CLIENTS:
        final, transient = measured[client]
        [status] = {*final.whole_statuses, *final.stream_statuses}
        cells = (
            client.name,
            version(client.environment, client.package),
            _counted(final),
            str(status),
            "tries again, and is answered" if transient.answered else "shows it",
            client.setting,
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _counted(final: Final) -> str:
    whole, stream = len(final.whole_statuses), len(final.stream_statuses)
    return str(whole) if whole == stream else f"{whole}, of a stream {stream}"


def _statuses() -> str:
    rows = ["| client | User-Agent, as a regular expression | status | why |", "|---|---|---|---|"]
    for rule in CLIENT_RULES:
        # A bar would end the cell, in a code span as well.
        pattern = rule.user_agent.pattern.replace("|", r"\|")
        rows.append(f"| {rule.name} | `{pattern}` | {rule.status} | {rule.why} |")
    return "\n".join(rows) + "\n"


def _texts(measured: Measured) -> str:
    blocks = []
    for client in CLIENTS:
        shown = measured[client][0].whole.replace(client.run, _RUN)
        lines = "\n".join(textwrap.fill(line, 116, break_on_hyphens=False) for line in shown.splitlines() if line)
        blocks.append(f"{client.name}:\n\n```text\n{lines}\n```\n")
    return "\n".join(blocks)
