"""Planted: a call whose shim is gone gives its hold back, though what it has cost is not known."""

from dataclasses import replace
from types import ModuleType
from typing import Any


def _patch(module: ModuleType) -> None:
    original = module.abandon

    def abandon(*arguments: Any) -> tuple[Any, ...]:
        abandoned, *others = original(*arguments)
        return (replace(abandoned, kept_nanodollars=0), *others)

    module.abandon = abandon


PATCHES = {"leashd": {"leashd.core.closing": _patch}}
