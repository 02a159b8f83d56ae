from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest

from leash.prices import ModelPrice, PriceError, PriceTable, find, parse_table


def own(**models: dict[str, Any]) -> PriceTable:
    return parse_table(json.dumps(models).encode())


def litellm(models: dict[str, tuple[str, float]]) -> PriceTable:
    entries = {
        name: {"litellm_provider": provider, "input_cost_per_token": rate, "output_cost_per_token": rate}
        for name, (provider, rate) in models.items()
    }
    return parse_table(json.dumps(entries).encode())


def input_rate(price: ModelPrice | None) -> int | None:
    return None if price is None else price.rates("", 1).input // 10**9


def test_the_requests_model_is_found_before_the_answers() -> None:
    table = own(asked={"input": 1, "output": 1}, answered={"input": 2, "output": 2})
    found = find(table, "asked", "answered")
    assert found is not None
    assert (found[0], input_rate(found[1])) == ("asked", 1000)


def test_the_answers_model_is_found_where_the_requests_is_not_listed() -> None:
    table = own(answered={"input": 2, "output": 2})
    found = find(table, "alias", "answered")
    assert found is not None
    assert found[0] == "answered"
    assert find(table, "alias", "") is None


def test_leashs_own_format_is_looked_up_by_the_exact_name() -> None:
    table = own(**{"openai/gpt": {"input": 1, "output": 1}, "gpt-5": {"input": 1, "output": 1}})
    assert table.get("gpt") is None
    assert table.get("openai/gpt-5") is None
    assert table.get("GPT-5") is None
    assert table.get("") is None


def test_litellms_exact_name_wins() -> None:
    table = litellm({"gpt": ("openai", 1e-6), "azure/gpt": ("azure", 2e-6), "openai/gpt": ("openai", 3e-6)})
    assert input_rate(table.get("gpt")) == 1000
    assert input_rate(table.get("azure/gpt")) == 2000


def test_a_name_is_found_behind_its_only_provider() -> None:
    table = litellm({"xai/grok-4": ("xai", 1e-6)})
    assert input_rate(table.get("grok-4")) == 1000
    assert table.get("grok") is None


def test_a_name_behind_several_providers_is_found_only_at_one_price() -> None:
    same = litellm({"xai/grok": ("xai", 1e-6), "azure_ai/grok": ("azure_ai", 1e-6)})
    assert input_rate(same.get("grok")) == 1000
    differing = litellm({"xai/grok": ("xai", 1e-6), "azure_ai/grok": ("azure_ai", 2e-6)})
    assert differing.get("grok") is None


def test_a_router_is_found_before_the_provider_that_it_names() -> None:
    table = litellm({"gpt": ("openai", 1e-6), "openrouter/openai/gpt": ("openrouter", 2e-6)})
    assert input_rate(table.get("openai/gpt")) == 2000


def test_a_providers_prefix_finds_its_own_entry_only() -> None:
    table = litellm({"gpt": ("openai", 1e-6)})
    assert input_rate(table.get("openai/gpt")) == 1000
    assert table.get("azure/gpt") is None
    assert table.get("openai/") is None
    assert table.get("") is None


def test_the_name_of_the_entry_that_prices_a_model() -> None:
    table = litellm({"xai/grok": ("xai", 1e-6), "gpt": ("openai", 2e-6)})
    names = {model: table.name_of(model) for model in ("xai/grok", "grok", "openai/gpt", "azure/gpt", "none", "")}
    assert names == {
        "xai/grok": "xai/grok",
        "grok": "xai/grok",
        "openai/gpt": "gpt",
        "azure/gpt": None,
        "none": None,
        "": None,
    }
    assert list(table) == ["xai/grok", "gpt"]
    assert table.given("gpt").provider == "openai"
    with pytest.raises(KeyError):
        table.given("grok")


def test_a_stored_table_keeps_prices_alone() -> None:
    entry = {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6, "off_peak_pricing": {}}
    table = parse_table(json.dumps({"m": entry, "n": {"output_cost_per_image": 1}}).encode())
    assert table.format_name == "litellm"
    assert (list(table.unpriced), list(table.remarks)) == (["n"], ["m"])
    again = PriceTable.from_plain(table.to_plain())
    assert (dict(again.unpriced), dict(again.remarks), again.format_name) == ({}, {}, "litellm")


def test_a_table_with_longer_inputs_is_stored_as_before() -> None:
    table = own(m={"input": 1, "output": 2, "above": {"1000": {"input": 3}}, "tiers": {"b": {"above": {"9": {}}}}})
    plain = table.to_plain()
    assert plain["version"] == 1
    assert plain["models"]["m"][-1] == {
        "": [[0, [10**12, 2 * 10**12, *[None] * 9]], [1000, [3 * 10**12, *[None] * 10]]],
        "b": [[0, [None] * 11], [9, [None] * 11]],
    }
    again = PriceTable.from_plain(msgspec.msgpack.decode(msgspec.msgpack.encode(plain)))
    assert again.get("m") == table.get("m")


def test_a_table_that_was_stored_before_images_had_rates_is_read_as_one_that_omits_them() -> None:
    rates = {"input": 1, "output": 2, "audio_output": 9}
    table = own(m={**rates, "above": {"1000": {"input": 3}}, "tiers": {"batch": {"output": 1}}})
    plain = table.to_plain()
    *others, schedules = plain["models"]["m"]
    shorter = {tier: [[above, rates[:9]] for above, rates in schedule] for tier, schedule in schedules.items()}
    again = PriceTable.from_plain({**plain, "models": {"m": [*others, shorter]}})
    assert again.get("m") == table.get("m")
    assert again.given("m") == table.given("m")


def test_a_stored_table_prices_as_the_parsed_one() -> None:
    table = parse_table(
        json.dumps(
            {
                "m": {
                    "litellm_provider": "openai",
                    "input_cost_per_token": 1e-6,
                    "output_cost_per_token": 2e-6,
                    "input_cost_per_token_above_200k_tokens": 2e-6,
                    "output_cost_per_token_priority": 9,
                    "search_context_cost_per_query": {"search_context_size_low": 0.01},
                    "max_tokens": 100,
                },
                "openai/n": {"input_cost_per_token": 0, "output_cost_per_token": 0},
            }
        ).encode()
    )
    packed = msgspec.msgpack.encode(table.to_plain())
    again = PriceTable.from_plain(msgspec.msgpack.decode(packed))
    assert len(again) == 2
    for name in ("m", "n", "openai/n", "openai/m", "missing"):
        assert again.get(name) == table.get(name)
    assert again.to_plain() == table.to_plain()


@pytest.mark.parametrize("plain", [None, [], {}, {"version": 2, "format": "leash", "models": {}}, {"version": 1}])
def test_a_stored_table_of_another_version_is_refused(plain: object) -> None:
    with pytest.raises(PriceError, match="import it again"):
        PriceTable.from_plain(plain)


def test_a_table_of_thousands_loads_without_reading_each_model() -> None:
    models = {f"p{number}/m{number}": ("p", number * 1e-9 + 1e-9) for number in range(3_000)}
    text_table = litellm(models)
    plain = text_table.to_plain()
    started = time.perf_counter()
    for _ in range(10):
        assert PriceTable.from_plain(plain).get("p7/m7") is not None
    # 0.05 ms each where nothing else runs; reading all models takes 20 ms.
    assert (time.perf_counter() - started) / 10 < 0.01
