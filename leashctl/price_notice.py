"""What a person is told where a run has no price table. Pure."""

from __future__ import annotations

_HOW = "give prices with --prices FILE, or put a table in its place with `leashctl prices import FILE`"


def price_notice(*, budgeted: bool, on_blind: str) -> str:
    """One line: the default budget is off, or, where a budget holds all the same, what that comes to."""
    if not budgeted:
        return f"no price table: the default cost budget is off, calls and deadline still hold ({_HOW})"
    if on_blind == "refuse":
        return (
            "warning: no price table: the first call that cannot be priced will be refused, and stops the run "
            f"({_HOW}, or turn the budget off with --max-cost 0)"
        )
    return f"warning: no price table: no call can be priced, so none counts towards the cost budget ({_HOW})"
