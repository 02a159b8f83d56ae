"""What people read, to the letter where scripts read it too."""

from __future__ import annotations

import pytest

from leash.live.processes import Live
from leash.v1 import shim_pb2, types_pb2
from leash_shim.meter import RouteKind
from leashctl.render import (
    RUN_COLUMNS,
    account_lines,
    end_line,
    entry_row,
    limit_lines,
    printable,
    run_row,
    silence_line,
    table,
    unresolved_line,
    unresolved_row,
    warning_line,
    would_stop_line,
)

DOLLAR = 10**9
HOUR_NS = 3600 * 10**9


def account(**fields: object) -> types_pb2.Account:
    return types_pb2.Account(**{"run": "a3f9", "status": types_pb2.STATUS_RUNNING, **fields})


def test_end_line_of_a_stopped_run() -> None:
    stopped = account(
        status=types_pb2.STATUS_STOPPED,
        reason="cost_budget",
        calls=18,
        token_cost_nanodollars=4_100_000_000,
        compute_cost_nanodollars=910_000_000,
        total_cost_nanodollars=5_010_000_000,
    )
    assert end_line(stopped) == "stopped run a3f9 after 18 calls, $4.10 tokens + $0.91 compute = $5.01 (cost_budget)"


def test_end_line_of_a_finished_run() -> None:
    finished = account(
        status=types_pb2.STATUS_FINISHED,
        reason="child_exited",
        calls=12,
        token_cost_nanodollars=2_300_000_000,
        total_cost_nanodollars=2_300_000_000,
    )
    assert end_line(finished) == "run a3f9 finished after 12 calls, $2.30 tokens + $0.00 compute = $2.30 (child_exited)"


def test_end_line_of_a_killed_run_names_the_switch() -> None:
    killed = account(status=types_pb2.STATUS_KILLED, reason="kill_switch", calls=1)
    assert end_line(killed) == "stopped run a3f9 after 1 calls, $0.00 tokens + $0.00 compute = $0.00 (kill_switch)"


def test_end_line_of_a_run_that_another_shim_has_open_is_this_programs_end() -> None:
    assert end_line(account(calls=2)).startswith("run a3f9 finished after 2 calls")
    assert end_line(account(calls=2)).endswith("(child_exited)")


@pytest.mark.parametrize(
    ("tokens", "compute", "shown"),
    [
        (0, 0, "$0.00 tokens + $0.00 compute = $0.00"),
        (4_104_900_000, 904_900_000, "$4.10 tokens + $0.91 compute = $5.01"),
        (4_105_000_000, 905_000_000, "$4.11 tokens + $0.90 compute = $5.01"),
        (25_000_000, 0, "$0.03 tokens + $0.00 compute = $0.03"),
        (1_200_000, 0, "$0.0012 tokens + $0.00 compute = $0.0012"),
        (1_200_000, 300_000, "$0.0012 tokens + $0.0003 compute = $0.0015"),
        (1, 0, "$0.000000001 tokens + $0.00 compute = $0.000000001"),
        (1_200_000, DOLLAR, "$0.00 tokens + $1.00 compute = $1.00"),
        (1_234_567 * DOLLAR, 0, "$1234567.00 tokens + $0.00 compute = $1234567.00"),
    ],
)
def test_end_line_adds_up_as_it_is_shown(tokens: int, compute: int, shown: str) -> None:
    line = end_line(account(token_cost_nanodollars=tokens, compute_cost_nanodollars=compute))
    assert shown in line


def test_unresolved_calls_are_told() -> None:
    assert unresolved_line(account()) == ""
    assert unresolved_line(account(unresolved_calls=1)).startswith("1 call is unresolved and holds $0.00")
    line = unresolved_line(account(unresolved_calls=2, held_cost_nanodollars=DOLLAR // 2))
    assert line == "2 calls are unresolved and hold $0.50 of the budget: see `leashctl inspect a3f9`"


def test_table_is_aligned_and_has_no_trailing_space() -> None:
    lines = table(("RUN", "CALLS", "REASON"), [["a", "1", ""], ["longer", "100", "stall"]])
    assert lines == ["RUN     CALLS  REASON", "a           1", "longer    100  stall"]


def test_table_cuts_its_last_column_to_the_width() -> None:
    lines = table(("RUN", "COMMAND"), [["a", "python " + "x" * 100]], width=20)
    assert lines[1] == "a    " + "python xxxxxxxx"
    assert all(len(line) <= 20 for line in lines)


def test_table_paints_the_status_alone() -> None:
    lines = table(("RUN", "STATUS", "AGE"), [["a", "stopped", "1s"]], colour=True)
    assert lines[0] == "RUN  STATUS   AGE"
    assert lines[1] == "a    \x1b[31mstopped\x1b[0m   1s"


def test_control_characters_are_not_obeyed() -> None:
    assert printable("a\x1b[31m\nü\u202e") == "a\\x1b[31m\\nü\\u202e"
    assert "\x1b" not in table(("RUN",), [["\x1b[2J"]])[1]


def test_run_row_of_a_live_run() -> None:
    run = account(
        calls=3,
        open_calls=1,
        unresolved_calls=2,
        input_tokens=3000,
        output_tokens=1500,
        total_cost_nanodollars=75_000_000,
        created_at_unix_ns=1,
        pid=42,
        limits=types_pb2.Limits(max_cost_nanodollars=5 * DOLLAR),
    )
    row = run_row(run, Live("python agent.py", 12.34, 3 << 29), now_ns=HOUR_NS + 1)
    assert dict(zip(RUN_COLUMNS, row, strict=True)) == {
        "RUN": "a3f9",
        "STATUS": "running",
        "CALLS": "3",
        "OPEN": "1",
        "TOKENS": "4500",
        "COST": "$0.08",
        "LIMIT": "$5.00",
        "AGE": "1h",
        "REASON": "2 unresolved",
        "PID": "42",
        "CPU": "12.3%",
        "MEM": "1.5G",
    }


def test_run_row_without_a_budget_and_a_process() -> None:
    row = dict(zip(RUN_COLUMNS, run_row(account(), None, now_ns=0), strict=True))
    assert {row[name] for name in ("LIMIT", "REASON", "PID", "CPU", "MEM")} == {"-"}


def test_account_and_limits_name_what_there_is() -> None:
    run = account(
        reason="stall",
        status=types_pb2.STATUS_STOPPED,
        blind_calls=1,
        error_calls=2,
        tool_cost_nanodollars=DOLLAR,
        would_stop=[types_pb2.REASON_DEADLINE],
    )
    text = "\n".join(account_lines(run, ledger="/l.db", owner="me", now_ns=0))
    for part in (
        "stopped (stall)",
        "2 answered with an error, 1 blind",
        "tools $1.00",
        "would stop",
        "deadline",
        "/l.db",
    ):
        assert part in text
    limits = types_pb2.Limits(max_cost_nanodollars=DOLLAR, max_calls=0, rate_tokens=10, rate_window_ns=60 * 10**9)
    assert limit_lines(limits) == ["  --max-cost  $1.00", "  --rate      10/60s"]
    assert limit_lines(types_pb2.Limits()) == []


def test_entry_row_of_each_shape() -> None:
    settled = types_pb2.Entry(
        seq=4,
        kind="settled",
        call_id=bytes(range(16)),
        model="m",
        usage=types_pb2.Usage(input_tokens=10, output_tokens=5),
        cost_nanodollars=25_000_000,
        http_status=500,
    )
    assert entry_row(settled, at="now") == ["4", "now", "settled", "00010203", "m", "10", "5", "$0.03", "HTTP 500"]
    raised = types_pb2.Entry(seq=5, kind="raised", actor_uid=0)
    assert entry_row(raised, at="now") == ["5", "now", "raised", "-", "-", "-", "-", "-", "by uid 0"]
    assert entry_row(raised, at="now", actor="root")[-1] == "by root"


def test_unresolved_row() -> None:
    call = types_pb2.UnresolvedCall(call_id=b"\xab" * 16, model="m", held_nanodollars=DOLLAR, reserved_at_unix_ns=0)
    assert unresolved_row(call, now_ns=60 * 10**9) == ["abababab", "m", "$1.00", "60s"]


@pytest.mark.parametrize(
    ("seen", "failed", "said"),
    [
        ({}, False, "nothing came to leash: the program made no call, or it does not take its provider's address from"),
        ({}, True, "nothing came to leash: the program failed before its first call, or it does not take"),
        ({"free": 3}, False, "only requests that cost nothing came to leash, such as lists of models"),
        ({"free": 3, "unmeterable": 1}, False, "the request that came to leash was refused: none was to an endpoint"),
        ({"bad_path": 1, "unmeterable": 1}, True, "the 2 requests that came to leash were refused"),
        ({"metered": 1}, False, "the call that came to leash was refused, or failed on the way to the provider"),
        ({"metered": 2, "free": 1, "unmeterable": 1}, True, "the 2 calls that came to leash were refused, or failed"),
    ],
)
def test_silence_line_says_the_likely_reason(seen: dict[str, int], failed: bool, said: str) -> None:
    line = silence_line(seen, failed=failed)
    assert line.startswith(said)
    assert "\n" not in line


@pytest.mark.parametrize(
    ("seen", "turned_away", "said"),
    [
        ({}, 1, "the request that came to leash did not begin with the path of a base URL"),
        ({}, 2, "the 2 requests that came to leash did not begin with"),
        ({"free": 1}, 2, "only requests that cost nothing came to leash"),
    ],
)
def test_silence_line_tells_of_a_program_that_drops_the_path(seen: dict[str, int], turned_away: int, said: str) -> None:
    assert silence_line(seen, turned_away=turned_away, failed=True).startswith(said)


@pytest.mark.parametrize(
    ("seen", "page"),
    [({}, "docs/agents.md"), ({"free": 1}, "docs/agents.md"), ({"unmeterable": 1}, "docs/metering.md")],
)
def test_silence_line_names_the_page_that_helps(seen: dict[str, int], page: str) -> None:
    assert page in silence_line(seen, failed=False)


@pytest.mark.parametrize(
    ("unit", "used", "limit", "said"),
    [
        (types_pb2.UNIT_NANODOLLARS, 4 * DOLLAR, 5 * DOLLAR, "warning: run a3f9 came to $4.00 of $5.00 (why)"),
        (types_pb2.UNIT_CALLS, 80, 100, "warning: run a3f9 came to 80 of 100 calls (why)"),
        (types_pb2.UNIT_NANOSECONDS, HOUR_NS, 2 * HOUR_NS, "warning: run a3f9 came to 1h of 2h (why)"),
        (
            types_pb2.UNIT_UNSPECIFIED,
            0,
            0,
            "warning: run a3f9 had a call that could not be metered or priced (why)",
        ),
    ],
)
def test_warning_line_of_each_unit(unit: types_pb2.Unit.ValueType, used: int, limit: int, said: str) -> None:
    warned = shim_pb2.RunWarned(run="a3f9", reason="why", used=used, limit=limit, unit=unit)
    assert warning_line(warned) == said


def test_a_run_that_is_only_observed_shows_what_would_have_stopped_it() -> None:
    observed = account(would_stop=[types_pb2.REASON_MAX_CALLS, types_pb2.REASON_STALL])
    row = dict(zip(RUN_COLUMNS, run_row(observed, None, now_ns=0), strict=True))
    assert row["REASON"] == "would stop: max_calls, would stop: stall"
    assert would_stop_line(observed).endswith("without --observe it would have been stopped: max_calls, stall")
    assert would_stop_line(account()) == ""


def test_limits_are_shown_with_all_their_digits() -> None:
    assert limit_lines(types_pb2.Limits(max_cost_nanodollars=DOLLAR // 8)) == ["  --max-cost  $0.125"]


def test_silence_line_counts_under_the_names_of_the_routes() -> None:
    assert {kind.value for kind in RouteKind} == {"metered", "free", "unmeterable", "bad_path"}
