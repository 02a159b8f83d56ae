"""DESIGN 4.2: compute is the time in which some session had the run open, from the first admitted call."""

from __future__ import annotations

from tests.unit.leashd.play import HOUR, ONE, SECOND, TWO, running


def test_compute_counts_from_the_first_admitted_call() -> None:
    play = running(compute_rate_nanodollars_per_hour=60)
    play.pass_time(HOUR)
    play.call()
    play.pass_time(HOUR)

    assert play.account.compute_cost_nanodollars(play.now_ns) == 60


def test_compute_is_rounded_up() -> None:
    play = running(compute_rate_nanodollars_per_hour=60)
    play.call()
    play.pass_time(1)

    assert play.account.compute_cost_nanodollars(play.now_ns) == 1


def test_compute_is_frozen_at_the_stop_and_goes_on_when_it_is_lifted() -> None:
    play = running(compute_rate_nanodollars_per_hour=60)
    play.call()
    play.pass_time(HOUR)
    play.kill()
    play.pass_time(HOUR)
    assert play.account.compute_cost_nanodollars(play.now_ns) == 60

    play.raise_limits(resume=True)
    play.pass_time(HOUR)
    assert play.account.compute_cost_nanodollars(play.now_ns) == 120


def test_compute_is_frozen_while_nobody_has_the_run_open() -> None:
    play = running(compute_rate_nanodollars_per_hour=60)
    play.call()
    play.pass_time(HOUR)
    play.close(clean=False)
    play.pass_time(HOUR)
    play.open()
    play.pass_time(HOUR)

    assert play.account.compute_cost_nanodollars(play.now_ns) == 120


def test_compute_of_a_new_episode_counts_from_its_first_admitted_call() -> None:
    play = running(compute_rate_nanodollars_per_hour=60)
    play.call()
    play.pass_time(HOUR)
    play.close()
    play.open()
    play.pass_time(HOUR)
    assert play.account.compute_cost_nanodollars(play.now_ns) == 60

    play.call()
    play.pass_time(HOUR)
    assert play.account.compute_cost_nanodollars(play.now_ns) == 120


def test_compute_counts_once_however_many_sessions_have_the_run_open() -> None:
    play = running(compute_rate_nanodollars_per_hour=60)
    play.open(TWO)
    play.call()
    play.pass_time(HOUR)
    play.close(ONE)
    play.pass_time(HOUR)

    assert play.account.compute_cost_nanodollars(play.now_ns) == 120


def test_compute_of_a_lost_session_ends_when_it_was_last_known_to_be_alive() -> None:
    play = running(compute_rate_nanodollars_per_hour=3_600)
    play.call()
    play.pass_time(10 * SECOND)
    play.close(clean=False, until_ns=play.now_ns - 4 * SECOND)

    assert play.account.compute_cost_nanodollars(play.now_ns) == 6


def test_compute_so_far_keeps_the_rate_at_which_it_accrued() -> None:
    play = running(compute_rate_nanodollars_per_hour=60)
    play.call()
    play.pass_time(HOUR)
    play.raise_limits(compute_rate_nanodollars_per_hour=600)
    play.pass_time(HOUR)

    assert play.account.compute_cost_nanodollars(play.now_ns) == 660


def test_compute_of_a_run_that_two_sessions_had_open_ends_with_the_one_that_was_alive_for_longer() -> None:
    play = running(compute_rate_nanodollars_per_hour=60)
    play.open(TWO)
    play.call()
    lost_ns = play.now_ns
    play.pass_time(HOUR)
    play.close(TWO)
    play.close(ONE, clean=False, until_ns=lost_ns)

    assert play.account.compute_cost_nanodollars(play.now_ns) == 60


def test_compute_is_exact_over_many_pieces() -> None:
    play = running(compute_rate_nanodollars_per_hour=7)
    for _ in range(3):
        play.call()
        play.pass_time(HOUR // 3)
        play.close()
        play.open()

    assert play.account.compute_cost_nanodollars(play.now_ns) == 7
