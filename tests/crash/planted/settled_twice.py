"""Planted: a settle that is sent again, since its answer was lost, is counted again."""

from dataclasses import replace
from types import ModuleType
from typing import Any


def _keep_the_call(module: ModuleType) -> None:
    original = module.closed_record

    def closed_record(call: Any, event: Any, now_ns: int) -> Any:
        return replace(original(call, event, now_ns), person=call)

    module.closed_record = closed_record


def _settle_again(module: ModuleType) -> None:
    original = module.Engine._settle

    def settle(self: Any, operation: Any, reply: Any, now_ns: int) -> Any:
        account, call = self._own_call(operation)
        closed = self.working.closed_call(operation.session, operation.call)
        if account is None or call is not None or closed is None:
            return original(self, operation, reply, now_ns)
        report = self._prices.report(operation, closed.person)
        settled = module.closing.settle(account, closed.person, report, now_ns)[0]
        again = replace(settled, amends_nanodollars=0, amends_released=True)
        self._emit(account.run, (again,), now_ns, call=closed.person)
        return module.CallClosed("settled", report.cost_nanodollars)

    module.Engine._settle = settle


PATCHES = {"leashd": {"leashd.working": _keep_the_call, "leashd.engine": _settle_again}}
