from __future__ import annotations

from leashd.core.account import Account
from leashd.core.notices import Notice, NoticeKind
from leashd.core.reactions import Reactions, Target
from tests.unit.leashd.desk import MICRODOLLAR, Desk, call_id, priced
from tests.unit.leashd.play import SECOND, START

HOOK = {"hook": ("/bin/true",)}
BOTH = HOOK | {"webhook": "https://host/"}


def told(desk: Desk) -> list[Notice]:
    """What stands in the outbox for hooks, in order."""
    return [pending.notice for key, pending in desk.ledger.outbox(dead=False) if key.target is Target.HOOK]


def kinds(desk: Desk) -> list[str]:
    return [notice.kind.label for notice in told(desk)]


def test_a_run_without_reactions_tells_nothing(desk: Desk) -> None:
    shim = desk.session()
    shim.open()
    desk.kill("r")

    assert list(desk.ledger.outbox(dead=False)) == []


def test_each_way_has_its_own_record_of_the_same_notice(desk: Desk) -> None:
    shim = desk.session()
    shim.open_for_others(reactions=BOTH)
    desk.kill("r")
    records = list(desk.ledger.outbox(dead=False))

    assert [key.target for key, _ in records] == [Target.WEBHOOK, Target.HOOK]
    assert records[0][1].notice == records[1][1].notice


def test_a_stop_by_cost_tells_what_was_used_of_what_and_what_it_came_to(desk: Desk) -> None:
    shim = priced(desk, max_cost_nanodollars=100 * MICRODOLLAR)
    shim.open_for_others(reactions=HOOK)
    shim.admitted(1)
    shim.settle(1, tokens=120)
    assert shim.refused(2) == "cost_budget"
    [stopped] = [notice for notice in told(desk) if notice.kind is NoticeKind.STOPPED]

    assert (stopped.reason, stopped.used, stopped.limit) == ("cost_budget", 120 * MICRODOLLAR, 100 * MICRODOLLAR)
    assert (stopped.calls, stopped.total_cost_nanodollars) == (1, 120 * MICRODOLLAR)
    assert stopped.at_ns == START


def test_a_warning_a_kill_and_a_raise_are_told_and_the_raise_says_what_it_lifted(desk: Desk) -> None:
    shim = desk.session()
    shim.open_for_others(reactions=HOOK, given={"max_calls": 2, "warn_at_ppm": 500_000})
    shim.admitted(1)
    shim.settle(1)
    desk.kill("r")
    desk.raise_limits(resume=True)

    assert kinds(desk) == ["warning", "killed", "raised"]
    assert [notice.reason for notice in told(desk)] == ["max_calls", "kill_switch", "kill_switch"]
    assert len({notice.id for notice in told(desk)}) == 3


def test_a_call_becomes_unresolved_once(desk: Desk) -> None:
    shim = desk.session()
    shim.open_for_others(reactions=HOOK)
    shim.admitted(1)
    shim.abandon(1)
    shim.abandon(1)

    assert kinds(desk) == ["unresolved"]


def test_a_run_is_finished_when_its_last_opener_has_gone_and_no_call_is_open(desk: Desk) -> None:
    one, two = desk.session(), desk.session(b"session2")
    one.open_for_others(reactions=HOOK)
    two.open()
    one.close()
    assert kinds(desk) == []
    two.admitted(1)
    two.close()
    assert kinds(desk) == []
    two.settle(1)

    assert kinds(desk) == ["finished"]
    assert told(desk)[0].reason == "child_exited"


def test_a_run_that_its_last_call_stops_after_its_openers_have_gone_is_stopped_and_not_finished(desk: Desk) -> None:
    shim = priced(desk, max_cost_nanodollars=100 * MICRODOLLAR, max_cost_per_call_nanodollars=50 * MICRODOLLAR)
    shim.open_for_others(reactions=HOOK)
    shim.admitted(1)
    shim.close()
    shim.settle(1, tokens=90)

    assert "stopped" in kinds(desk)
    assert "finished" not in kinds(desk)


def test_a_call_that_is_abandoned_last_makes_it_unresolved_and_then_finished_by_one_entry(desk: Desk) -> None:
    shim = desk.session()
    shim.open_for_others(reactions=HOOK)
    shim.admitted(1)
    shim.close()
    shim.abandon(1)

    assert kinds(desk) == ["unresolved", "finished"]
    assert told(desk)[0].seq == told(desk)[1].seq
    assert told(desk)[0].id != told(desk)[1].id


def test_an_id_is_no_other_runs_and_no_other_times(desk: Desk) -> None:
    shim = desk.session()
    for run in ("r", "s"):
        shim.open_for_others(run, reactions=HOOK)
    desk.kill("r", "s")
    desk.raise_limits("r", resume=True)
    desk.now_ns += SECOND
    desk.kill("r")

    assert len({notice.id for notice in told(desk)}) == 4


def test_what_was_not_named_stays_and_an_empty_one_is_turned_off(desk: Desk) -> None:
    shim = desk.session()
    shim.open_for_others(reactions=BOTH)
    number = desk.account().number
    shim.open_for_others(reactions={"webhook": ""})

    assert desk.ledger.reactions(number) == Reactions(hook=("/bin/true",))
    shim.open_for_others()
    assert desk.ledger.reactions(number) == Reactions(hook=("/bin/true",))


def test_what_stands_for_every_run_goes_where_the_run_says_nothing(desk: Desk) -> None:
    desk.engine.working.standing = Reactions(webhook="https://standing/", hook=("/bin/standing",))
    shim = desk.session()
    shim.open_for_others(reactions=HOOK)
    desk.kill("r")
    own = desk.ledger.reactions(desk.account().number)

    assert own is not None
    assert [key.target for key, _ in desk.ledger.outbox(dead=False)] == [Target.WEBHOOK, Target.HOOK]
    assert own.over(desk.engine.working.standing) == Reactions(webhook="https://standing/", hook=("/bin/true",))


def test_a_batch_that_is_not_committed_tells_nothing(desk: Desk) -> None:
    shim = desk.session()
    shim.open_for_others(reactions=HOOK)
    shim.admitted(1)
    desk.ask_later(shim.settles(1))
    batch, _ = desk.engine.take()
    desk.engine.discard(batch, desk.now_ns)
    desk.commit()

    assert kinds(desk) == []
    shim.settle(1)
    shim.close()
    assert kinds(desk) == ["finished"]
    assert isinstance(desk.account(), Account)
    assert desk.ledger.closed_call(shim.name, call_id(1)) is not None
