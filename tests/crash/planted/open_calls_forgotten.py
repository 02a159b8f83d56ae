"""Planted: a daemon that starts again forgets the calls that were open, as if they had never been forwarded."""

from types import ModuleType
from typing import Any


def _patch(module: ModuleType) -> None:
    original = module.Engine.__init__

    def start(self: Any, ledger: Any, **named: Any) -> None:
        original(self, ledger, **named)
        for key in list(ledger.open_call_keys()):
            call = ledger.call(key)
            self._emit(call.run, module.closing.void(call), named["now_ns"], call=call)

    module.Engine.__init__ = start


PATCHES = {"leashd": {"leashd.engine": _patch}}
