"""What the ledger takes on the disk, and how fast it is audited and pruned.

    python -m tests.bench.audit [--calls 40000] [--seed 1]

Ledgers of so many calls in all are written by the engine, without the processes around it. For each it prints what one
settled call takes on the disk, all in, how many entries ``audit`` refolds in a second, and how long it takes to prune
every run of it.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

from leash.usage import Usage
from leashd.audit import audit
from leashd.core.admission import Admit
from leashd.operations import Prune, SettleCall
from tests.unit.leashd.desk import Desk, call_id

_BATCH = 64  # operations in one transaction, as under load
_MODEL = "gpt-5-mini-2025-08-07"


def fill(path: Path, *, runs: int, calls: int, seed: int) -> Desk:
    """A ledger in which so many runs have made so many calls each, in turn at random."""
    chosen = random.Random(seed)
    desk = Desk(path)
    shim = desk.session()
    names = [f"run-{number}" for number in range(runs)]
    prices = desk.prices(
        json.dumps({_MODEL: {"input": 1, "output": 2, "context": 400_000, "max_output": 1_000}}).encode()
    )
    for name in names:
        shim.open(name, prices=prices, max_cost_nanodollars=10**15)
    # The first call of a model goes alone.
    shim.admitted(0, run=names[0], model=_MODEL)
    shim.settle(0, names[0], tokens=5)
    left = dict.fromkeys(names, calls)
    call = 0
    while left:
        asked = []
        for _ in range(_BATCH):
            name = chosen.choice(names)
            if left.get(name):
                call += 1
                asked.append((name, call, desk.ask_later(shim.asks(call, name, model=_MODEL))))
                left[name] -= 1
                if not left[name]:
                    del left[name]
                    names.remove(name)
            if not names:
                break
        desk.now_ns += 50_000_000
        desk.commit()
        for name, number, answer in asked:
            assert isinstance(desk.answers.pop(answer), Admit)
            usage = Usage(
                input_tokens=chosen.randrange(20_000), output_tokens=chosen.randrange(900),
                cached_input_tokens=chosen.randrange(8_000), reasoning_tokens=chosen.randrange(300),
            )  # fmt: skip
            settle = SettleCall(
                session=shim.name, link=shim.link, run=name, call=call_id(number), http_status=200, usage=usage,
                model=_MODEL, fingerprint=chosen.randbytes(8),
            )  # fmt: skip
            desk.ask_later(settle)
        desk.now_ns += 900_000_000
        desk.commit()
        shim.acknowledge(*(number for _, number, _ in asked))
    return desk


def measure(path: Path, *, runs: int, calls: int, seed: int) -> str:
    """One line about one ledger."""
    desk = fill(path, runs=runs, calls=calls, seed=seed)
    file_bytes = desk.ledger.size_bytes()
    began_s = time.perf_counter()
    report = audit(desk.ledger)
    audit_s = time.perf_counter() - began_s
    assert report.difference is None, report
    shim = desk.session()
    names = tuple(f"run-{number}" for number in range(runs))
    for name in names:
        shim.close(name)
    began_s = time.perf_counter()
    seen = 0
    while seen < runs:
        seen += desk.ask(Prune(names[seen:], before_ns=desk.now_ns + 1, actor_uid=0)).seen
    prune_s = time.perf_counter() - began_s
    desk.ledger.close()
    return (
        f"{runs:6,} runs of {calls:6,} calls: {file_bytes / (runs * calls):4.0f} bytes a call, "
        f"audit {report.entries / audit_s:7,.0f} entries/s, prune of all {prune_s * 1e3:6,.0f} ms"
    )


def main() -> None:
    """Prints a line for each ledger."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for runs in (1, 20, 100, 1_000):
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "leash.db"
            print(measure(path, runs=runs, calls=options.calls // runs, seed=options.seed), flush=True)


if __name__ == "__main__":
    main()
