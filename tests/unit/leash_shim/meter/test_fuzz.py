"""No input makes a meter raise, come to another result by its cuts, or tell what cannot be right."""

from __future__ import annotations

from itertools import islice
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_shim.meter import Asked, RequestFacts
from tests.exchanges.corpus import CORPUS
from tests.exchanges.exchange import Exchange
from tests.exchanges.odd import odd_bodies
from tests.fuzz.check import CONTENT_TYPES, FACTS, FORMATS, PATHS, Subject, check_answer, check_request
from tests.fuzz.mutate import mutate_json

EXCHANGES = sorted(
    (exchange for exchange in CORPUS.values() if not exchange.is_large), key=lambda exchange: exchange.name
)
CUTS = st.lists(st.integers(0, 2_000), max_size=6)

# Text that reads nearly like the formats do.
NEARLY = st.lists(
    st.sampled_from(
        [
            *("data: ", "event: error\n", "\n", "\r\n", "\r", "\n\n", ": c\n", "[", "]", "{", "}", '"', "\\", ",", ":"),
            *('"usage"', '"choices"', '"type"', '"message_start"', '"response.completed"', '"usageMetadata"', '"done"'),
            *('"input_tokens"', '"prompt_tokens"', '"promptTokenCount"', "null", "true", "1", "-1", "1e999", "NaN"),
            *("9" * 40, "\ud83c\udf27", "\\ud83c", "[DONE]", '"iterations"', '"delta"', '"tool_calls"', "x" * 70),
        ]
    ),
    max_size=60,
).map(lambda parts: "".join(parts).encode("utf-8", "surrogatepass"))


@st.composite
def mutated(draw: st.DrawFn) -> tuple[Exchange, bytes]:
    """A body of the corpus with pieces of it taken out, said twice, overwritten or mixed with another's."""
    exchange = draw(st.sampled_from(EXCHANGES))
    body = draw(st.sampled_from((exchange.request, exchange.sent)))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(body)))
        end = draw(st.integers(start, min(len(body), start + 40)))
        other = draw(st.one_of(st.binary(max_size=12), NEARLY, st.just(body[start:end] * 2), st.just(b"")))
        body = body[:start] + other + body[end:]
    return exchange, body


@st.composite
def rewritten(draw: st.DrawFn) -> tuple[Exchange, bytes, bytes]:
    """An exchange, and its answer and request with other values in their JSON."""
    exchange = draw(st.sampled_from(EXCHANGES))
    random = Random(draw(st.integers(0, 2**32)))
    answer, request = exchange.sent, exchange.request
    for _ in range(draw(st.integers(1, 6))):
        answer, request = mutate_json(answer, random), mutate_json(request, random)
    return exchange, answer, request


@settings(deadline=None, max_examples=400)
@given(
    st.sampled_from(sorted(FORMATS)), st.sampled_from(CONTENT_TYPES), st.one_of(st.binary(max_size=400), NEARLY), CUTS
)
def test_garbage(name: str, content_type: str, body: bytes, cuts: list[int]) -> None:
    check_answer(Subject(FORMATS[name], content_type), body, cuts)
    for path in PATHS:
        check_request(FORMATS[name], Asked(body, path, "multipart/form-data; boundary=x"))


@settings(deadline=None, max_examples=600)
@given(mutated(), st.sampled_from(CONTENT_TYPES), CUTS)
def test_what_is_nearly_an_exchange(given: tuple[Exchange, bytes], content_type: str, cuts: list[int]) -> None:
    exchange, body = given
    assert exchange.way.format is not None
    facts = check_request(exchange.way.format, Asked(body, exchange.path, exchange.request_type))
    for answer_type in {exchange.answer_type, content_type}:
        check_answer(Subject(exchange.way.format, answer_type, facts), body, cuts)


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange.name)
def test_another_kind_of_value_in_any_one_place(exchange: Exchange) -> None:
    assert exchange.way.format is not None
    subject = Subject(exchange.way.format, exchange.answer_type, exchange.facts)
    # Every other one: what is left out in one exchange stands in the others like it.
    for number, body in enumerate(islice(odd_bodies(exchange.sent), 0, None, 2)):
        check_answer(subject, body, [number % (len(body) + 1)])
    for body in islice(odd_bodies(exchange.request), 1, None, 2):
        check_request(exchange.way.format, Asked(body, exchange.path, exchange.request_type))


@settings(deadline=None, max_examples=600)
@given(rewritten(), st.sampled_from(FACTS), CUTS)
def test_what_has_other_values(given: tuple[Exchange, bytes, bytes], facts: RequestFacts, cuts: list[int]) -> None:
    exchange, answer, request = given
    wire_format = exchange.way.format
    assert wire_format is not None
    for each in (facts, check_request(wire_format, Asked(request, exchange.path, exchange.request_type))):
        check_answer(Subject(wire_format, exchange.answer_type, each), answer, cuts)
