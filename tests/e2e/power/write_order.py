"""The rule of DESIGN 4.4 at the level of system calls: what is acknowledged was durable before its answer left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.e2e.power.answers import Admitted, admitted
from tests.e2e.power.ledger_writes import Commit, LedgerWrites, new_path
from tests.e2e.power.trace import Call, TraceError, read_trace


@dataclass(frozen=True, slots=True)
class Order:
    """What a trace comes to."""

    reserves: int
    commits: int
    violations: tuple[str, ...]


def check_order(trace: Path, ledger: Path) -> Order:
    """Checks each commit and each admitted reserve. TraceError where there is nothing to check."""
    calls = read_trace(trace)
    writes = LedgerWrites(calls, str(ledger))
    answers = admitted(calls)
    if not answers:
        raise TraceError("no reserve was admitted: nothing is shown")
    commits = writes.commits()
    violations = _name_first(calls, writes, ledger, answers[0])
    violations += [violation for commit in commits for violation in _pages_first(writes, commit)]
    violations += [violation for answer in answers for violation in _durable_first(writes, commits, answer)]
    return Order(len(answers), len(commits), tuple(violations))


def _name_first(calls: list[Call], writes: LedgerWrites, ledger: Path, answer: Admitted) -> list[str]:
    """A new file is durable before it gets its name, and the name is before anything is answered."""
    names = [new_path(str(ledger)).encode(), str(ledger).encode()]
    renamed = next((call for call in calls if call.name == "rename" and call.strings == names), None)
    if renamed is None:
        raise TraceError(f"{ledger} was not made")
    early = [write for write in writes.writes if write.entered < renamed.entered]
    if not early or any((writes.durable_at(write) or renamed.entered) >= renamed.entered for write in early):
        return [f"line {renamed.entered}: the file gets its name before it is durable"]
    late = f"line {answer.line}: the first answer is sent before the name of the file is durable"
    directories: set[int] = set()
    for call in calls:
        if call.name == "openat" and str(ledger.parent).encode() in call.strings:
            directories.add(call.result)
        elif call.name == "close":
            directories.discard(call.descriptor)
        elif call.name == "fsync" and call.descriptor in directories and call.entered > renamed.returned:
            return [] if call.returned < answer.line else [late]
    return [late]


def _pages_first(writes: LedgerWrites, commit: Commit) -> list[str]:
    """Every page of a commit is durable before the write that makes them count is begun."""
    late = [page for page in commit.pages if (writes.durable_at(page) or commit.meta.entered) >= commit.meta.entered]
    return [f"line {commit.meta.entered}: the meta page is written over {len(late)} unsynced writes"] if late else []


def _durable_first(writes: LedgerWrites, commits: list[Commit], answer: Admitted) -> list[str]:
    """The commit that has a reserve is durable before its answer is sent."""
    having = [commit for commit in commits if any(answer.call_id in page.data for page in commit.pages)]
    if not having:
        return [f"line {answer.line}: call {answer.call_id.hex()} is admitted, and in no commit"]
    durable_at = writes.durable_at(having[0].meta)
    if durable_at is None or durable_at >= answer.line:
        return [f"line {answer.line}: call {answer.call_id.hex()} is answered before its commit is durable"]
    return []
