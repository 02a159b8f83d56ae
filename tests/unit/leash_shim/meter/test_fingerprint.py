"""Equal fingerprints for replies that say and do the same."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_shim.meter import fingerprint
from leash_shim.meter.fingerprint import Fingerprint


def of_text(*pieces: str, kind: str = "content", choice: int = 0) -> bytes:
    reply = Fingerprint()
    for piece in pieces:
        reply.add_text(choice, kind, piece)
    return reply.digest()


def of_calls(*calls: tuple[str, str]) -> bytes:
    reply = Fingerprint()
    for number, (name, arguments) in enumerate(calls):
        reply.add_call(0, number, name=name, arguments=arguments)
    return reply.digest()


def test_a_reply_with_neither_text_nor_call_has_none() -> None:
    assert Fingerprint().digest() == b""
    assert of_text("", " \n\t", "\u00a0") == b""


def test_a_fingerprint_has_eight_bytes_and_stays_the_same_between_releases() -> None:
    assert of_text("Hello, world") == bytes.fromhex("de6ebfcf43719cd1")
    assert of_calls(("read", '{"path": "a"}')) == bytes.fromhex("be556ae6e3479a14")


def test_white_space_does_not_count_and_words_do() -> None:
    assert of_text("a b\n\nc ") == of_text(" a\tb c") == of_text("a", " ", "", "\n", "b", " c", "\n")
    assert len({of_text(text) for text in ("a b", "ab", "a b c", "b a", "A b", "a  bc")}) == 6


def test_text_refusal_and_choice_are_told_apart() -> None:
    prints = {of_text("no"), of_text("no", kind="refusal"), of_text("no", choice=1), of_calls(("no", ""))}
    assert len(prints) == 4


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=())) | st.text(alphabet=" \n\u00a0ab😀"), st.data())
def test_the_pieces_of_a_text_make_no_difference(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert of_text(*pieces) == of_text(text) == of_text(" ".join(text.split()))


def test_an_emoji_cut_into_its_surrogates_is_the_same_emoji() -> None:
    assert of_text("so \ud83d", "\ude00") == of_text("so \U0001f600")


def test_arguments_count_by_their_value() -> None:
    assert of_calls(("f", '{"a":1,"b":[1, 2]}')) == of_calls(("f", ' {"b": [1,2],\n"a": 1}'))
    different = ['{"a":1}', '{"a":"1"}', '{"a":2}', '{"b":1}', "{}", "null", '["a"]', '{"a":', '"\ud800"']
    assert len({of_calls(("f", arguments)) for arguments in different}) == len(different)
    assert of_calls(("f", "{}")) == of_calls(("f", ""))
    assert of_calls(("f", "{}")) != of_calls(("g", "{}"))
    assert of_calls(("f", "{}"), ("g", "{}")) != of_calls(("g", "{}"), ("f", "{}"))
    assert of_calls(("f", "{}")) != of_calls(("f", "{}"), ("f", "{}"))


def test_arguments_that_are_no_json_count_with_collapsed_white_space() -> None:
    assert of_calls(("f", "ls  -l\n")) == of_calls(("f", "ls -l"))


def test_a_call_without_arguments_counts() -> None:
    assert len(of_calls(("f", ""))) == 8


@settings(deadline=None, max_examples=30)
@given(st.permutations(range(6)), st.integers(1, 4))
def test_arguments_beyond_the_bound_count_as_written_in_any_order_of_pieces(order: list[int], cuts: int) -> None:
    big = json.dumps({"text": "x" * (fingerprint.MAX_ARGUMENTS_CHARACTERS // 2)})
    calls = [big + " ", "", "{}", big, '{"a": 1}', "x"]
    whole = Fingerprint()
    pieces = Fingerprint()
    for number, arguments in enumerate(calls):
        whole.add_call(0, number, name="f", arguments=arguments)
    for number in order:
        pieces.add_call(0, number, name="f")
    for part in range(cuts):
        for number in order:
            arguments = calls[number]
            size = -(-len(arguments) // cuts)
            pieces.add_call(0, number, arguments=arguments[part * size : (part + 1) * size])
    assert pieces.digest() == whole.digest()
    assert sum(len(piece) for call in pieces._calls.values() for piece in call._pieces) == 0


@pytest.mark.parametrize(
    ("choice", "call"), [(-1, 0), (fingerprint.MAX_CHOICES, 0), (0, -1), (0, fingerprint.MAX_CALLS)]
)
def test_what_is_beyond_the_bounds_is_left_out(choice: int, call: int) -> None:
    reply = Fingerprint()
    reply.add_call(choice, call, name="f", arguments="{}")
    assert reply.digest() == b""


def test_a_name_repeated_in_each_piece_is_one_name() -> None:
    reply = Fingerprint()
    for piece in ('{"a"', ":1}"):
        reply.add_call(0, 0, name="f", arguments=piece)
    assert reply.digest() == of_calls(("f", '{"a":1}'))
