"""What webhooks and hooks cost a governed call: the time of a reserve, beside endpoints that hang, are away, or answer.

    python -m tests.bench.reactions [--calls 200] [--rounds 12]

The calls are reserved and settled one by one on the real daemon's socket. Times are in milliseconds. "hangs" has 64
runs stopped whose endpoint takes the connection and never answers, "is away" 64 whose endpoint refuses connections, and
"events" has runs stopped and resumed all the time, each of which an endpoint and a hook are told of. The last column is
the median of the rounds' medians, which a busy moment of the machine does not move.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from leash.client.paths import control_socket_for
from leash.v1 import control_pb2, shim_pb2
from leash.v1.control_pb2_grpc import ControlStub
from tests.e2e.raw_daemon import Place, Shim

RUNS = 64
CASES = ("nothing to tell", "hangs", "is away", "events")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    figures: dict[str, list[list[float]]] = {case: [] for case in CASES}
    for _ in range(options.rounds):  # the cases take turns, so that a busy moment of the machine hits them all
        for case in CASES:
            figures[case].append(measured(case, options.calls))
    print(f"{'endpoint':<18}{'median':>9}{'90 %':>9}{'99 %':>9}{'longest':>9}{'rounds':>9}")
    for case, rounds in figures.items():
        times = sorted(seconds for one in rounds for seconds in one)
        ranks = statistics.quantiles(times, n=100)
        middle = statistics.median(statistics.median(one) for one in rounds)
        shown = (statistics.median(times), ranks[89], ranks[98], times[-1], middle)
        print(f"{case:<18}" + "".join(f"{1_000 * value:>9.2f}" for value in shown))


def measured(case: str, calls: int) -> list[float]:
    """The seconds of each reserve."""
    root = Path(tempfile.mkdtemp(prefix="lt-", dir="/tmp"))
    place = Place(root)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1_024)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    if case == "is away":
        listener.close()
    try:
        place.serve()
        shim = Shim(place)
        reactions = shim_pb2.Reactions(webhook=url)
        if case == "events":
            threading.Thread(target=answer_all, args=(listener,), daemon=True).start()
            reactions.hook.command.append("/bin/true")
        names = [f"told{number}" for number in range(RUNS)] if case != "nothing to tell" else []
        for name in names:
            shim.ask(open_run=shim_pb2.OpenRun(run=name, reactions=reactions))
        stopping = threading.Event()
        with place.channel(control_socket_for(place.socket)) as channel:
            people = ControlStub(channel)
            if names:
                people.Kill(control_pb2.KillRequest(runs=names))
            if case == "events":
                threading.Thread(target=keep_telling, args=(people, names, stopping)).start()
            time.sleep(1.0)  # the import for the first webhook is over
            times = reserve_all(shim, calls)
            stopping.set()
        shim.close()
        return times
    finally:
        listener.close()
        place.close()


def reserve_all(shim: Shim, calls: int) -> list[float]:
    shim.open("governed")
    times = []
    for number in range(calls):
        call = number.to_bytes(16, "big")
        began_s = time.perf_counter()
        answer = shim.reserve(call, "governed")
        times.append(time.perf_counter() - began_s)
        assert answer.HasField("admitted"), answer
        shim.settle(call, "governed")
    return times


def keep_telling(people: ControlStub, names: list[str], stopping: threading.Event) -> None:
    """Ten runs a second are killed and resumed."""
    while not stopping.is_set():
        for name in names:
            with suppress(Exception):  # the daemon is leaving
                people.Raise(control_pb2.RaiseRequest(run=name, resume=True))
                people.Kill(control_pb2.KillRequest(runs=[name]))
            if stopping.wait(0.1):
                return


def answer_all(listener: socket.socket) -> None:
    """Takes whatever comes, one after the other."""
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


if __name__ == "__main__":
    main()
