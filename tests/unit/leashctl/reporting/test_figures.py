"""A report's figures come to what its entries say, whatever their number."""

from __future__ import annotations

from leash.v1 import types_pb2
from leashctl.reporting.figures import MOST_CALLS, MOST_NAMES, OTHERS, Figures
from tests.unit.leash.live.made import DOLLAR, NOW, SECOND, settled


def reserved(seq: int, at_ns: int, call: bytes) -> types_pb2.Entry:
    return types_pb2.Entry(seq=seq, at_unix_ns=at_ns, kind="reserved", call_id=call)


def test_calls_add_up_by_model_and_by_run() -> None:
    figures = Figures()
    figures.take("a", settled(1, NOW, 10, model="small"))
    figures.take("a", settled(2, NOW, 20, model="large", http_status=500))
    figures.take("b", settled(3, NOW, 30, model="small"))
    assert (figures.total.calls, figures.total.errors, figures.total.cost_nanodollars) == (3, 1, 60)
    assert {name: sums.cost_nanodollars for name, sums in figures.by_model.items()} == {"small": 40, "large": 20}
    assert {name: sums.cost_nanodollars for name, sums in figures.by_run.items()} == {"a": 30, "b": 30}


def test_each_token_is_of_one_kind() -> None:
    usage = types_pb2.Usage(
        input_tokens=100,
        cached_input_tokens=30,
        cache_write_5m_tokens=20,
        audio_input_tokens=5,
        output_tokens=50,
        reasoning_tokens=40,
    )
    figures = Figures()
    figures.take("a", settled(1, NOW, 10, usage=usage))
    assert dict(figures.tokens) == {
        "input": 45,
        "cached input": 30,
        "cache write": 20,
        "audio input": 5,
        "output": 10,
        "reasoning": 40,
    }


def test_a_call_takes_from_its_admission_to_its_end() -> None:
    figures = Figures()
    figures.take("a", reserved(1, NOW, b"1" * 16))
    figures.take("a", reserved(2, NOW + SECOND, b"2" * 16))
    figures.take("a", settled(3, NOW + 3 * SECOND, 1, call_id=b"2" * 16))
    figures.take("a", settled(4, NOW + 9 * SECOND, 5, call_id=b"1" * 16))
    assert [(call.seq, call.duration_ns // SECOND) for call in figures.slowest()] == [(4, 9), (3, 2)]
    assert [call.cost_nanodollars for call in figures.dearest()] == [5, 1]


def test_only_so_many_calls_are_listed_the_dearest() -> None:
    figures = Figures()
    for seq in range(1, 500):
        figures.take("a", settled(seq, NOW + seq, seq * 7 % 499))
    assert [call.cost_nanodollars for call in figures.dearest()] == list(range(498, 498 - MOST_CALLS, -1))


def test_what_was_before_does_not_count_but_its_calls_have_begun() -> None:
    figures = Figures(since_ns=NOW)
    figures.take("a", settled(1, NOW - 1, 100))
    figures.take("a", reserved(2, NOW - SECOND, b"1" * 16))
    figures.take("a", settled(3, NOW + SECOND, 1, call_id=b"1" * 16))
    assert figures.total.cost_nanodollars == 1
    assert figures.slowest()[0].duration_ns == 2 * SECOND


def test_a_cost_that_is_amended_counts_once() -> None:
    figures = Figures()
    figures.take("a", types_pb2.Entry(seq=1, at_unix_ns=NOW, kind="resolved", cost_nanodollars=40, model="m"))
    figures.take("a", settled(2, NOW, 25, amends=True, amended_nanodollars=40, model="m"))
    figures.take("a", types_pb2.Entry(seq=3, at_unix_ns=NOW, kind="resolved", released=True))
    assert (figures.total.cost_nanodollars, figures.total.calls) == (25, 1)


def test_what_was_pruned_is_in_the_total() -> None:
    totals = types_pb2.Account(calls=9, token_cost_nanodollars=90)
    checkpoint = types_pb2.Entry(seq=50, at_unix_ns=NOW, kind="checkpoint", account=totals)
    figures, recent = Figures(), Figures(since_ns=NOW - SECOND)
    for each in (figures, recent):
        each.take("a", checkpoint)
        each.take("a", settled(51, NOW, 10))
    assert (figures.total.calls, figures.total.cost_nanodollars, figures.pruned_runs) == (10, 100, 1)
    assert (recent.total.cost_nanodollars, recent.pruned_runs) == (10, 1)


def test_a_line_of_many_calls_has_few_points_and_ends_where_the_run_stands() -> None:
    figures = Figures()
    for seq in range(1, 20_001):
        figures.take("a", settled(seq, NOW + seq, 1))
    assert len(figures.points) <= 1_602
    assert figures.points[0] == (NOW + 1, 1)
    assert figures.points[-1] == (NOW + 20_000, 20_000)
    assert figures.points == sorted(figures.points)


def test_models_beyond_a_bound_are_added_up() -> None:
    figures = Figures()
    for seq in range(1, MOST_NAMES + 11):
        figures.take("a", settled(seq, NOW, 1, model=f"m{seq}"))
    assert figures.by_model[OTHERS].calls == 10
    assert sum(sums.cost_nanodollars for sums in figures.by_model.values()) == MOST_NAMES + 10


def test_amounts_stand_in_the_bar_of_their_time() -> None:
    figures = Figures(since_ns=NOW, bucket_ns=60 * SECOND)
    figures.take("a", settled(1, NOW, DOLLAR))
    figures.take("b", settled(1, NOW + 61 * SECOND, DOLLAR))
    numbers = sorted(figures.buckets)
    assert [dict(figures.buckets[number]) for number in numbers] == [{"a": DOLLAR}, {"b": DOLLAR}]
    assert numbers[1] - numbers[0] == 1
