"""What a file of tokens says, and what is wrong with one that says nothing clear."""

from __future__ import annotations

import re

import pytest

from leash.governance import PARSERS, Governance
from leash.units import parse_dollars
from leash_shim.gateway.tokens import (
    Tenant,
    TokenBook,
    TokenTable,
    is_short,
    matches,
    merged,
    parse_tokens,
    single_token,
)
from leashctl.serve import serve

FIRST = "first-token-Aech7ohTqu"
SECOND = "second-token-ieng1Oova"


def parsed(*lines: str) -> TokenBook:
    book, warnings = parse_tokens("\n".join(lines), source="tokens")
    assert not warnings
    return book


def test_named_tokens_stand_for_their_tenant() -> None:
    book = parsed("# who may come in", "", f"team-a: {FIRST}", f"  team-b:{SECOND}  ")

    assert [(token.tenant, token.run) for token in book.tokens] == [("team-a", ""), ("team-b", "")]
    assert book.tenants == {}
    found = matches(book, FIRST)
    assert found is not None
    assert found.tenant == "team-a"
    assert matches(book, "nobodys-token-at-all") is None
    assert matches(book, "") is None
    assert matches(book, "tökén-\udcff") is None


def test_several_tokens_of_one_name_are_one_tenant() -> None:
    book = parsed(f"team: {FIRST}", f"team: {SECOND} max-cost=50")

    assert {token.tenant for token in book.tokens} == {"team"}
    assert book.tenants == {"team": Tenant(limits=Governance(max_cost=parse_dollars("50")))}


def test_an_unnamed_token_has_the_same_tenant_wherever_it_comes_from() -> None:
    [token] = parsed(FIRST).tokens

    assert single_token(FIRST) == TokenBook(tokens=(token,), tenants={})
    assert len(token.tenant) == 12
    assert token.tenant not in token.digest, "who sees a run's name learns nothing of the digest"
    assert FIRST not in repr(token)


def test_options_are_the_tokens_or_the_tenants() -> None:
    book = parsed(
        f"team: {FIRST} run=nightly max-runs=20",
        f"team: {SECOND} max-cost=2.50 max-calls=7 deadline=1h rate=1000/1m stall=5 compute-rate=1 "
        "max-cost-per-call=1 warn-at=0.5 on-blind=warn strict=true observe=false hold-wait=5s max-runs=20",
    )

    assert [token.run for token in book.tokens] == ["nightly", ""]
    assert book.tenants["team"] == Tenant(
        max_runs=20,
        limits=Governance(
            max_cost=2_500_000_000,
            max_calls=7,
            deadline=3_600 * 10**9,
            rate=(1000, 60 * 10**9),
            stall=5,
            compute_rate=10**9,
            max_cost_per_call=10**9,
            warn_at=500_000,
            on_blind="warn",
            strict=True,
            observe=False,
            hold_wait=5 * 10**9,
        ),
    )


def test_every_limit_of_the_command_line_is_an_option() -> None:
    flags = {opt.removeprefix("--") for param in serve.params for opt in param.opts}

    assert flags.issuperset(PARSERS)
    assert {name.replace("-", "_") for name in PARSERS} == set(Governance.__dataclass_fields__)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "tokens holds no token: write one a line, as NAME: TOKEN (`leashctl gen-token` makes one)"),
        (["# nothing"], "tokens holds no token"),
        (["team: "], "tokens, line 1: a token has 8 to 512 visible ASCII characters"),
        (["team: short"], "tokens, line 1: a token has 8 to 512"),
        (["te am: " + FIRST], "tokens, line 1: a token has 8 to 512"),
        (["x" * 119 + ": " + FIRST], "tokens, line 1: the name before the colon has more than 118 characters"),
        ([6 * FIRST + ": team"], "tokens, line 1: the name before the colon has more"),
        (["team: max-cost=50.00"], "tokens, line 1: there is no token before max-cost="),
        (["run=nightly " + FIRST], "tokens, line 1: there is no token before run="),
        ([FIRST, "team: " + FIRST], "tokens, line 2: the same token stands above already"),
        (["team: " + FIRST + " nightly"], "line 1: what stands behind the token is no NAME=VALUE"),
        (["team: " + FIRST + " budget=3"], "line 1: an option has another name than run, max-runs, max-cost,"),
        (["team: " + SECOND + " " + FIRST + "=="], "line 1: an option has another name"),
        (["team: " + FIRST + " max-cost=much"], "line 1: max-cost: 'much' is no"),
        (["team: " + FIRST + " run=a/b"], "line 1: 'a/b' has a slash"),
        (["team: " + FIRST + " on-blind=never"], "line 1: on-blind: 'never' is none of refuse, warn, allow"),
        (["team: " + FIRST + " strict=yes"], "line 1: strict: 'yes' is neither true nor false"),
        (
            ["team: " + FIRST + " max-cost=5", "", "team: " + SECOND + " max-cost=6"],
            "tokens, line 3: max-cost is 5 for the same tenant in tokens, line 1",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line_and_without_the_token(lines: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        parse_tokens("\n".join(lines), source="tokens")

    assert FIRST not in str(raised.value)


def test_the_same_value_twice_is_no_contradiction() -> None:
    book = parsed(f"team: {FIRST} max-cost=5", f"team: {SECOND} max-cost=5.00")

    assert book.tenants["team"].limits.max_cost == parse_dollars("5")


def test_a_file_of_another_editor_says_the_same() -> None:
    lines = ("# who\u2028may come in", f"team: {FIRST}\t max-runs=3 ")
    book, _ = parse_tokens("\ufeff" + "\r\n".join(lines) + "\r\n", source="tokens")

    assert book == parsed(*lines)
    assert book.tenants == {"team": Tenant(max_runs=3)}


def test_of_many_tokens_each_is_found() -> None:
    table = TokenTable(parsed(*(f"team-{number}: {FIRST}{number}" for number in range(1_000))))

    found = table.find(f"{FIRST}700")
    assert found is not None
    assert found.tenant == "team-700"
    assert table.find(FIRST) is None


def test_a_token_that_can_be_guessed_is_warned_of() -> None:
    _, warnings = parse_tokens("team: 12345678", source="tokens")

    assert warnings == ["tokens, line 1: a token of fewer than 16 characters can be guessed"]
    assert is_short("123456789012345")
    assert not is_short("1234567890123456")


def test_books_are_put_together() -> None:
    both = merged(parsed(f"team: {FIRST} max-runs=3"), single_token(SECOND), single_token(SECOND))

    assert len(both.tokens) == 2
    assert both.tenants == {"team": Tenant(max_runs=3)}


def test_a_single_token_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="a token has 8 to 512 visible") as raised:
        single_token("with a blank in it")
    assert "blank in it" not in str(raised.value)
