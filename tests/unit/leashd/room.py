"""What the tests of the rules share: a run whose room is known to the token, and what those who ask for it are told."""

from __future__ import annotations

from typing import Any

from leashd.core.events import Stopped
from leashd.operations import Answer, Operation, Raise, Refused
from tests.unit.leashd.desk import MICRODOLLAR, Desk, Shim

BUDGET = 1_000 * MICRODOLLAR


def sized(tokens: int) -> dict[str, Any]:
    """A call that may cost so many microdollars."""
    return {"input_bound_tokens": tokens, "output_bound_tokens": 0}


def known(desk: Desk, **limits: Any) -> Shim:
    """A shim whose run has limits, in a ledger that knows the model: its dearest call cost a whole budget."""
    shim = desk.session()
    shim.open("earlier", prices=desk.prices())
    shim.admitted(900, run="earlier")
    shim.settle(900, "earlier", tokens=1_000)
    shim.acknowledge(900)
    shim.open(prices=desk.prices(), **limits)
    return shim


def said(answer: Answer | None) -> str:
    """What one was answered: a reason, a word, or nothing while it waits."""
    if isinstance(answer, Refused):
        return answer.refuse.reason.value
    return "" if answer is None else type(answer).__name__


def told(desk: Desk, *numbers: int) -> list[str]:
    """What each was answered, by the numbers of their answers."""
    return [said(desk.answers.get(number)) for number in numbers]


def stops(desk: Desk) -> list[str]:
    """The reasons of the run's stops, as they were recorded."""
    return [event.reason.value for event in desk.events() if isinstance(event, Stopped)]


def raised(*, resume: bool = False, **given: int) -> Raise:
    """A person's raise of the run."""
    return Raise("r", given, resume, 7)


def together(desk: Desk, *operations: Operation) -> list[Any]:
    """The answers to operations of one batch."""
    numbers = [desk.ask_later(operation) for operation in operations]
    desk.commit()
    return [desk.answers.get(number) for number in numbers]
