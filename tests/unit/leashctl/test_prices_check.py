"""``leashctl prices check``: what it says of a table, of one model, and of a call."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from leash.prices import cost, parse_table
from leash.usage import Usage
from leashctl.main import leashctl
from leashctl.price_quote import contradiction, quote

FULL = {
    "input": 3,
    "output": 15,
    "cached_input": 0.3,
    "cache_write_5m": 3.75,
    "cache_write_1h": 6,
    "web_search_per_request": 0.01,
    "web_fetch_per_request": 0,
    "max_output": 64000,
    "context": 1000000,
    "above": {"200000": {"input": 6, "output": 22.5, "cached_input": 0.6}},
    "tiers": {"batch": {"input": 1.5, "output": 7.5}},
}
BARE = {"input": 2.5, "output": 10}
LITELLM = {
    "xai/grok": {"litellm_provider": "xai", "input_cost_per_token": 3e-6, "output_cost_per_token": 9e-6},
    "azure/gpt": {"litellm_provider": "azure", "input_cost_per_token": 3e-6, "output_cost_per_token": 9e-6},
    "groq/gpt": {"litellm_provider": "groq", "input_cost_per_token": 1e-6, "output_cost_per_token": 9e-6},
    "sora/clip": {"litellm_provider": "openai", "output_cost_per_second": 0.1, "mode": "video_generation"},
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def save(table: object) -> None:
    Path("p.json").write_text(json.dumps(table))


def check(*arguments: str) -> Result:
    return CliRunner().invoke(leashctl, ["prices", "check", "p.json", *arguments])


def shown(*arguments: str) -> str:
    result = check(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def record(*arguments: str) -> Any:
    return json.loads(shown(*arguments, "--json"), parse_float=Decimal)


def test_a_table_that_leaves_nothing_unsaid() -> None:
    save({"m": FULL})
    assert shown().splitlines() == [
        "p.json prices 1 model",
        "",
        "MODEL  INPUT  OUTPUT    CONTEXT  MAX OUTPUT  NOT GIVEN",
        "m       3.00   15.00  1,000,000      64,000  -",
        "Input and output in dollars per million tokens; `--model NAME` shows every rate of one.",
        "",
        "Every model has all that matters under a cost budget.",
    ]


def test_what_is_missing_is_counted_and_explained() -> None:
    save({"m": FULL, "bare": BARE, "other": BARE})
    lines = shown().splitlines()
    assert lines[0] == "p.json prices 3 models"
    assert "bare " in lines[4]
    assert lines[4].endswith(
        "max_output, context, web_search_per_request, web_fetch_per_request, cache_write, cached_input"
    )
    explained = [line for line in lines if line.startswith("  2  ")]
    assert [line.split()[1] for line in explained] == [
        "max_output",
        "context",
        "web_search_per_request",
        "web_fetch_per_request",
        "cache_write",
        "cached_input",
    ]
    assert "--strict refuses it" in explained[0]
    assert "server_tool_unpriced" in explained[2]
    assert "too little" in explained[4]


def test_a_large_table_is_counted_and_not_listed_unless_that_is_asked_for() -> None:
    save({f"model-{number}": BARE for number in range(21)})
    assert "model-3" not in shown()
    assert "`--model NAME` shows one model, `--all` lists them all." in shown()
    assert all(f"model-{number} " in shown("--all") for number in range(21))


def test_an_invalid_table_is_a_usage_error_that_names_the_model_and_the_key() -> None:
    save({"m": {**BARE, "above": {"200k": {}}}})
    result = check()
    assert result.exit_code == 2
    assert 'p.json: model "m": "above": "200k" must be a whole number of input tokens' in result.output
    assert check("--model", "m").exit_code == 2


def test_a_model_is_shown_with_every_rate_that_it_has() -> None:
    save({"m": FULL})
    lines = shown("--model", "m").splitlines()
    assert lines[:2] == ["m in p.json, in dollars per million tokens:", ""]
    rates = [line.split() for line in lines[2:7]]
    assert rates[0] == ["input", "output", "cached_input", "cache_write_5m", "cache_write_1h"]
    assert rates[1] == ["ordinary", "3.00", "15.00", "0.30", "3.75", "6.00"]
    assert rates[2] == ["above", "200,000", "input", "6.00", "22.50", "0.60", "6.00", "6.00"]
    assert rates[3] == ["batch", "1.50", "7.50", "0.30", "3.75", "6.00"]
    assert rates[4] == ["batch,", "above", "200,000", "input", "6.00", "22.50", "0.60", "6.00", "6.00"]
    assert lines[7:] == [
        "as input: cache_write, audio_input, image_input",
        "as output: reasoning, audio_output, image_output",
        "",
        "web search  $0.01 each",
        "web fetch   $0.00 each",
        "max output  64,000 tokens",
        "context     1,000,000 tokens",
    ]


def test_a_model_is_shown_with_what_it_lacks() -> None:
    save({"m": BARE})
    text = shown("--model", "m")
    assert "as input: cached_input, cache_write, cache_write_5m, cache_write_1h, audio_input, image_input\n" in text
    assert "max output  not given\n" in text
    assert "  cached_input            tokens read from a cache bill as input: never too little\n" in text


def test_a_model_is_found_as_a_calls_would_be() -> None:
    save(LITELLM)
    assert shown("--model", "grok").startswith("grok (priced as xai/grok) in p.json")
    assert record("--model", "grok")["entry"] == "xai/grok"
    assert "1 more entries have no price for tokens" in shown()
    assert "LiteLLM's format has no key for web_fetch_per_request" in shown()


def test_what_a_models_price_does_not_have_in_it_is_said() -> None:
    save({"m": {**LITELLM["xai/grok"], "regional_processing_uplift_multiplier_eu": 1.1}})
    assert "Note:\n  the provider asks more in some regions" in shown("--model", "m")
    assert record("--model", "m")["remarks"] == ["regional_uplift"]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("gpt", "p.json has no price for 'gpt': did you mean azure/gpt, groq/gpt?"),
        ("grokk", "did you mean xai/grok?"),
        ("XAI/GROK", "did you mean xai/grok?"),
        ("zzz", "p.json has no price for 'zzz', and no name like it"),
        ("", "p.json has no price for '', and no name like it"),
        ("sora/clip", "p.json has 'sora/clip', but leash cannot price it: it is billed by another unit than tokens"),
        ("clip", "p.json has 'sora/clip', but leash cannot price it"),
    ],
)
def test_a_model_without_a_price_is_a_failure_that_says_what_may_have_been_meant(model: str, said: str) -> None:
    save(LITELLM)
    for arguments in ([], ["--json"], ["--input", "5"]):
        result = check("--model", model, *arguments)
        assert result.exit_code == 1
        assert said in result.stderr
        assert not result.stdout


def test_a_call_is_made_of_lines_that_add_up() -> None:
    save({"m": FULL})
    counts = ["--input", "26000", "--cached-input", "20000", "--cache-write-5m", "2000", "--cache-write-1h", "3000"]
    assert shown("--model", "m", *counts, "--output", "700", "--web-search", "2").splitlines() == [
        "m: $0.065000000",
        "",
        "KIND             COUNT              RATE          COST",
        "input            1,000   $3.00 a million  $0.003000000",
        "cached_input    20,000   $0.30 a million  $0.006000000",
        "cache_write_5m   2,000   $3.75 a million  $0.007500000",
        "cache_write_1h   3,000   $6.00 a million  $0.018000000",
        "output             700  $15.00 a million  $0.010500000",
        "web_search           2        $0.01 each  $0.020000000",
        "total                                     $0.065000000",
        "",
        "ceiling: none, since the call runs tools on the provider's side; --strict refuses it",
    ]


def test_a_call_with_images_has_lines_for_them() -> None:
    save({"m": {**BARE, "image_input": 4, "image_output": 40}})
    counts = ["--input", "400", "--image-input", "300", "--output", "1400", "--image-output", "1000"]
    assert shown("--model", "m", *counts).splitlines() == [
        "m: $0.045450000",
        "",
        "KIND          COUNT              RATE          COST",
        "input           100   $2.50 a million  $0.000250000",
        "image_input     300   $4.00 a million  $0.001200000",
        "output          400  $10.00 a million  $0.004000000",
        "image_output  1,000  $40.00 a million  $0.040000000",
        "total                                  $0.045450000",
        "",
        "ceiling: $0.057600000, with every token at the dearest rate that could apply; --strict holds it",
    ]
    lines = record("--model", "m", *counts)["quote"]["lines"]
    assert [(line["kind"], line["tokens"]) for line in lines] == [
        ("input", 100),
        ("image_input", 300),
        ("output", 400),
        ("image_output", 1000),
    ]


def test_a_long_call_in_a_tier_says_at_which_rates_it_is() -> None:
    save({"m": FULL})
    text = shown("--model", "m", "--input", "200001", "--output", "0", "--tier", "batch")
    assert text.startswith("m: $1.200006000\nat the rates of the tier batch\nat the rates above 200,000 input tokens\n")
    assert "at the rates" not in shown("--model", "m", "--input", "200000")
    flex = shown("--model", "m", "--input", "1", "--tier", "flex")
    assert "the tier flex bills at the ordinary rates\n" in flex
    turbo = shown("--model", "m", "--input", "1", "--tier", "turbo")
    assert "the tier turbo is not listed: at the dearest rates of any that is (ordinary, batch)\n" in turbo


def test_the_ceiling_is_what_the_request_bounds_or_else_the_model() -> None:
    save({"m": {**BARE, "max_output": 100, "context": 1000}, "unbounded": BARE})
    assert record("--model", "m", "--input", "10", "--output", "5")["quote"]["ceiling"] == Decimal("0.000075")
    assert record("--model", "m", "--input", "10")["quote"]["ceiling"] == Decimal("0.001025")
    assert record("--model", "m", "--output", "5")["quote"]["ceiling"] == Decimal("0.00255")
    assert record("--model", "unbounded", "--output", "5")["quote"]["ceiling"] is None
    assert "ceiling: none, since neither" in shown("--model", "unbounded", "--output", "5")
    assert "ceiling: $0.000075000, " in shown("--model", "m", "--input", "10", "--output", "5")


def test_a_tool_without_a_price_is_said() -> None:
    save({"m": BARE})
    text = shown("--model", "m", "--web-fetch", "1")
    assert "web_fetch      1  no price             -\n" in text
    assert "such a call stops the run (server_tool_unpriced)" in text
    assert record("--model", "m", "--web-fetch", "1")["quote"] == {
        "tier": "",
        "at_tiers": [""],
        "above_tokens": 0,
        "lines": [{"kind": "web_fetch", "requests": 1, "each": None, "cost": None}],
        "cost": 0,
        "tool_cost": 0,
        "unpriced_tool": True,
        "ceiling": None,
    }


def test_a_fraction_of_a_nanodollar_is_shown_and_rounded_up_once() -> None:
    save({"m": {"input": 0.0000005, "output": 0.0000005}})
    lines = shown("--model", "m", "--input", "1", "--output", "1").splitlines()
    assert lines[0] == "m: $0.000000001"
    assert "total                                $0.0000000000010" in lines
    assert "rounded up, once for the call, to $0.000000001" in lines
    assert record("--model", "m", "--input", "1")["quote"]["lines"][0]["cost"] == Decimal("5e-13")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--input", "5"], "name it with --model"),
        (["--tier", "batch"], "name it with --model"),
        (["--model", "m", "--all"], "give one of the two"),
        (["--model", "m", "--tier", "batch"], "say how large it is"),
        (["--model", "m", "--input", "-5"], "no whole number"),
        (["--model", "m", "--input", "many"], "no whole number"),
        (["--model", "m", "--input", "5", "--cached-input", "4", "--cache-write", "2"], "add up to 6 of 5"),
        (["--model", "m", "--cached-input", "4"], "add up to 4 of 0 (Anthropic reports them apart"),
        (["--model", "m", "--input", "5", "--audio-input", "6"], "add up to 6 of 5"),
        (["--model", "m", "--input", "5", "--audio-input", "3", "--image-input", "3"], "add up to 6 of 5"),
        (["--model", "m", "--output", "5", "--reasoning", "4", "--audio-output", "2"], "add up to 6 of 5"),
        (["--model", "m", "--output", "5", "--reasoning", "4", "--image-output", "2"], "add up to 6 of 5"),
    ],
)
def test_flags_that_mean_nothing_together_are_a_usage_error(arguments: list[str], said: str) -> None:
    save({"m": FULL})
    result = check(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_tables_record_has_everything() -> None:
    save({**LITELLM, "odd\udc80": {"output_cost_per_image": 1}})
    read = record()
    assert list(read) == ["file", "format", "models", "missing", "unpriced", "prices"]
    assert (read["file"], read["format"], read["models"]) == ("p.json", "litellm", 3)
    assert read["missing"]["max_output"] == 3
    assert read["unpriced"] == {"sora/clip": "other_unit", "odd\\udc80": "other_unit"}
    assert [each["model"] for each in read["prices"]] == ["xai/grok", "azure/gpt", "groq/gpt"]


def test_a_models_record_has_every_rate_of_every_tier_and_length() -> None:
    save({"m": FULL})
    read = record("--model", "m")
    assert list(read) == [
        "model",
        "entry",
        "rates",
        "web_search_per_request",
        "web_fetch_per_request",
        "max_output",
        "context",
        "missing",
        "remarks",
    ]
    assert [(each["tier"], each["above_tokens"]) for each in read["rates"]] == [
        ("", 0),
        ("", 200000),
        ("batch", 0),
        ("batch", 200000),
    ]
    assert read["rates"][0] == {
        "tier": "",
        "above_tokens": 0,
        "input": 3,
        "output": 15,
        "reasoning": 15,
        "cached_input": Decimal("0.3"),
        "cache_write": 3,
        "cache_write_5m": Decimal("3.75"),
        "cache_write_1h": 6,
        "audio_input": 3,
        "audio_output": 15,
        "image_input": 3,
        "image_output": 15,
    }
    assert (read["web_search_per_request"], read["web_fetch_per_request"]) == (Decimal("0.01"), 0)
    assert (read["max_output"], read["context"], read["missing"]) == (64000, 1000000, [])


counts = st.integers(min_value=0, max_value=300_000)


@given(st.tuples(counts, counts, counts, counts), st.integers(0, 3), st.sampled_from(["", "batch", "turbo"]))
def test_a_quote_is_what_the_call_would_be_settled_at(
    tokens: tuple[int, int, int, int], searches: int, tier: str
) -> None:
    plain, cached, output, reasoning = tokens
    price = parse_table(json.dumps({"m": FULL}).encode()).get("m")
    assert price is not None
    usage = Usage(
        input_tokens=plain + cached,
        cached_input_tokens=cached,
        output_tokens=output + reasoning,
        reasoning_tokens=reasoning,
        web_search_requests=searches,
        service_tier=tier,
    )
    assert contradiction(usage) == ""
    quoted = quote(price, usage, input_bound_tokens=usage.input_tokens, output_bound_tokens=usage.output_tokens)
    assert quoted.bill.cost == cost(price, usage)
    if searches:
        assert quoted.ceiling_nanodollars is None
    else:
        assert quoted.ceiling_nanodollars is not None
        assert quoted.bill.cost.total_nanodollars <= quoted.ceiling_nanodollars


def test_prices_need_no_daemon_and_no_wire(tmp_path: Path) -> None:
    """The command answers where no ledger is, and makes none."""
    save({"m": FULL})
    environ = {"XDG_RUNTIME_DIR": str(tmp_path / "run"), "HOME": str(tmp_path / "home")}
    result = CliRunner().invoke(leashctl, ["prices", "check", "p.json"], env=environ)
    assert result.exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.json"]
