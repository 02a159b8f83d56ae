from __future__ import annotations

from leashd.core.outbox import QueueKey
from leashd.core.reactions import Target
from leashd.reactions.schedule import AT_ONCE, AT_ONCE_TO_A_PLACE, WOKEN_AT_ONCE, Schedule


def queue(number: int) -> QueueKey:
    return QueueKey(number, Target.WEBHOOK)


def place(key: QueueKey) -> str:
    """Runs up to 1,000 go to one place, others to one of their own."""
    return "one" if key.number <= 1_000 else f"place {key.number}"


def taken(schedule: Schedule, now_ns: int) -> list[int]:
    numbers = []
    while (key := schedule.take(now_ns)) is not None:
        numbers.append(key.number)
    return numbers


def test_a_queue_is_taken_when_it_is_due_and_the_earliest_instant_counts() -> None:
    schedule = Schedule(place)
    schedule.add(queue(1), 50)
    schedule.add(queue(2), 20)
    schedule.add(queue(1), 10)
    schedule.add(queue(1), 90)

    assert schedule.next_due_ns() == 10
    assert taken(schedule, 9) == []
    assert taken(schedule, 10) == [1]
    assert schedule.next_due_ns() == 20
    assert len(schedule) == 2


def test_a_queue_is_attended_to_by_one_at_a_time() -> None:
    schedule = Schedule(place)
    schedule.add(queue(1), 0)
    assert taken(schedule, 0) == [1]
    schedule.add(queue(1), 0)
    assert taken(schedule, 0) == []
    schedule.done(queue(1), 5)
    assert taken(schedule, 4) == []
    assert taken(schedule, 5) == [1]
    schedule.done(queue(1), None)
    assert (len(schedule), schedule.next_due_ns()) == (0, None)


def test_a_place_has_its_share_and_holds_up_no_other() -> None:
    schedule = Schedule(place)
    for number in (*range(1, 101), 2_001, 2_002):
        schedule.add(queue(number), 0)

    assert sorted(taken(schedule, 0)) == [*range(1, AT_ONCE_TO_A_PLACE + 1), 2_001, 2_002]
    schedule.done(queue(1), None)
    assert taken(schedule, 0) == [AT_ONCE_TO_A_PLACE + 1]


def test_what_is_under_way_has_a_bound_and_those_who_waited_are_next() -> None:
    schedule = Schedule(place)
    for number in range(2_001, 2_001 + AT_ONCE + 10):
        schedule.add(queue(number), number)
    first = taken(schedule, 10_000)
    assert first == list(range(2_001, 2_001 + AT_ONCE))
    for number in first:
        schedule.done(queue(number), None)

    assert taken(schedule, 10_000) == list(range(2_001 + AT_ONCE, 2_001 + AT_ONCE + 10))


def test_places_take_turns() -> None:
    schedule = Schedule(lambda key: "even" if key.number % 2 == 0 else "odd")
    for number in (2, 4, 6, 1, 3, 5):
        schedule.add(queue(number), 0)

    assert taken(schedule, 0) == [2, 1, 4, 3, 6, 5]


def test_thousands_that_are_due_at_once_are_woken_a_few_at_a_time_and_none_is_left() -> None:
    looked_up = []

    def counted(key: QueueKey) -> str:
        looked_up.append(key.number)
        return place(key)

    schedule = Schedule(counted)
    for number in range(1, 1_001):
        schedule.add(queue(number), 0)
    numbers = []
    for looks in range(1, 1_001):
        key = schedule.take(0)
        assert key is not None
        assert len(looked_up) <= looks * WOKEN_AT_ONCE
        numbers.append(key.number)
        schedule.done(key, None)
    assert numbers == list(range(1, 1_001))
