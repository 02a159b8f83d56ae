"""A coverage-guided run over all meters: ``python -m tests.fuzz``. It needs the package atheris."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from random import Random

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

with atheris.instrument_imports(include=["leash_shim.meter"]):
    from leash_shim.meter import Asked
    from leash_shim.meter.bodies import is_event_stream
    from tests.exchanges.corpus import CORPUS
    from tests.exchanges.exchange import EVENTS, Exchange
    from tests.fuzz.check import (
        CONTENT_TYPES,
        FACTS,
        FORMATS,
        PATHS,
        REQUEST_TYPES,
        Subject,
        check_answer,
        check_request,
    )
    from tests.fuzz.mutate import mutate_json

_NAMES = sorted(FORMATS)
_CUTS = 4
_HEAD_BYTES = 3 + _CUTS

# Above nearly every exchange of the corpus; what only size can bring out is for the tests of bounds.
_MAX_BYTES = 8_192


def fuzz_one(data: bytes) -> None:
    """The first byte chooses the format, two more the rest of what stands beside a body, and others where it is cut."""
    if len(data) < _HEAD_BYTES:
        return
    wire_format = FORMATS[_NAMES[data[0] % len(_NAMES)]]
    body = data[_HEAD_BYTES:]
    cuts = [place * len(body) // 256 for place in data[3:_HEAD_BYTES]]
    asked = Asked(body, PATHS[data[2] % len(PATHS)], REQUEST_TYPES[data[1] % len(REQUEST_TYPES)])
    check_request(wire_format, asked)
    subject = Subject(wire_format, CONTENT_TYPES[data[1] % len(CONTENT_TYPES)], FACTS[data[2] % len(FACTS)])
    check_answer(subject, body, cuts)


def mutate(data: bytes, max_bytes: int, seed: int) -> bytes:
    """Another input made of one: by its JSON in every second case, by its bytes in the others."""
    random = Random(seed)
    if len(data) < _HEAD_BYTES or random.random() < 0.5:
        mutated: bytes = atheris.Mutate(data, max_bytes)
        return mutated
    return (data[:_HEAD_BYTES] + mutate_json(data[_HEAD_BYTES:], random))[:max_bytes]


def _seeds(exchange: Exchange) -> list[bytes]:
    """The request and the answer of an exchange as inputs."""
    assert exchange.way.format is not None
    name = _NAMES.index(exchange.way.format.name)
    answer_type = EVENTS if is_event_stream(exchange.answer_type) else exchange.answer_type
    answer = bytes((name, CONTENT_TYPES.index(answer_type), 1, 0, 64, 128, 192)) + exchange.sent
    request = bytes((name, REQUEST_TYPES.index(exchange.request_type), 0, 0, 64, 128, 192)) + exchange.request
    return [answer, request]


def main() -> None:
    """Runs until the time is over, or until an input fails, which is then kept and named."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="how long (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="a run's seed; 0 takes another each time")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="leash-fuzz-") as directory:
        for exchange in CORPUS.values():
            if not exchange.is_large:
                for number, seed in enumerate(_seeds(exchange)):
                    (Path(directory) / f"{exchange.name}-{number}").write_bytes(seed)
        flags = [f"-max_total_time={asked.seconds}", f"-max_len={_MAX_BYTES}", "-timeout=10", "-rss_limit_mb=1024"]
        if asked.seed:
            flags.append(f"-seed={asked.seed}")
        atheris.Setup([sys.argv[0], *flags, directory], fuzz_one, custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
