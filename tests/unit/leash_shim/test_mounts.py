from __future__ import annotations

import pytest

from leash_shim.mounts import MountError, MountTable, Target, child_environment

OPENAI = "https://api.openai.com"


def test_without_anything_set_the_official_hosts_are_governed_at_their_own_paths() -> None:
    updates, upstreams = child_environment(4711, {})
    assert updates == {
        "OPENAI_BASE_URL": "http://127.0.0.1:4711/openai/v1",
        "OPENAI_API_BASE": "http://127.0.0.1:4711/openai/v1",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:4711/anthropic",
        "ANTHROPIC_API_BASE": "http://127.0.0.1:4711/anthropic",
        "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:4711/gemini",
    }
    assert upstreams == {
        "openai": OPENAI,
        "anthropic": "https://api.anthropic.com",
        "gemini": "https://generativelanguage.googleapis.com",
    }


@pytest.mark.parametrize(
    ("before", "child", "origin"),
    [
        ("http://host:9099/v1", "http://127.0.0.1:1/openai/v1", "http://host:9099"),
        ("https://host/openai/v1", "http://127.0.0.1:1/openai/openai/v1", "https://host"),
        ("https://host/openai/v1/", "http://127.0.0.1:1/openai/openai/v1/", "https://host"),
        ("http://host", "http://127.0.0.1:1/openai", "http://host"),
        ("http://[::1]:8080/v1?key=a%2Fb", "http://127.0.0.1:1/openai/v1?key=a%2Fb", "http://[::1]:8080"),
        ("https://me:pass@host/v1", "http://me:pass@127.0.0.1:1/openai/v1", "https://host"),
    ],
)
def test_only_the_origin_of_a_base_url_changes(before: str, child: str, origin: str) -> None:
    updates, upstreams = child_environment(1, {"OPENAI_BASE_URL": before})
    assert updates["OPENAI_BASE_URL"] == updates["OPENAI_API_BASE"] == child
    assert upstreams["openai"] == origin


def test_a_request_below_the_childs_base_url_reaches_the_path_below_the_old_one() -> None:
    updates, upstreams = child_environment(1, {"OPENAI_BASE_URL": "https://host:8443/a%2Fb/openai/v1"})
    path = updates["OPENAI_BASE_URL"].removeprefix("http://127.0.0.1:1") + "/chat/completions"
    assert MountTable(upstreams).mounted(path) == Target("https://host:8443", "/a%2Fb/openai/v1/chat/completions")


def test_two_variables_of_a_family_may_name_two_hosts() -> None:
    environ = {"OPENAI_BASE_URL": "http://one/v1", "OPENAI_API_BASE": "http://two/v1"}
    updates, upstreams = child_environment(1, environ)
    assert updates["OPENAI_BASE_URL"] == "http://127.0.0.1:1/openai/v1"
    assert updates["OPENAI_API_BASE"] == "http://127.0.0.1:1/openai_api_base/v1"
    assert (upstreams["openai"], upstreams["openai_api_base"]) == ("http://one", "http://two")


def test_the_older_variable_alone_serves_for_both() -> None:
    updates, upstreams = child_environment(1, {"OPENAI_BASE_URL": " ", "OPENAI_API_BASE": "http://two/v1"})
    assert updates["OPENAI_BASE_URL"] == updates["OPENAI_API_BASE"] == "http://127.0.0.1:1/openai/v1"
    assert upstreams["openai"] == "http://two"


def test_a_family_without_a_default_is_governed_once_it_is_set() -> None:
    updates, upstreams = child_environment(1, {"AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com/"})
    assert updates["AZURE_OPENAI_ENDPOINT"] == "http://127.0.0.1:1/azure/"
    assert upstreams["azure"] == "https://mine.openai.azure.com"


@pytest.mark.parametrize(
    ("upstream", "openai", "anthropic"),
    [
        ("http://127.0.0.1:9099", "/openai/v1", "/anthropic"),
        ("http://127.0.0.1:9099/", "/openai/v1", "/anthropic"),
        ("http://127.0.0.1:9099/v1", "/openai/v1", "/anthropic"),
        ("http://127.0.0.1:9099/proxy/v1", "/openai/proxy/v1", "/anthropic/proxy"),
        ("http://127.0.0.1:9099/proxy", "/openai/proxy", "/anthropic/proxy"),
    ],
)
def test_an_explicit_upstream_overrides_all(upstream: str, openai: str, anthropic: str) -> None:
    updates, upstreams = child_environment(1, {"OPENAI_BASE_URL": "http://other/v1"}, upstream=upstream)
    assert updates["OPENAI_BASE_URL"] == f"http://127.0.0.1:1{openai}"
    assert updates["ANTHROPIC_BASE_URL"] == f"http://127.0.0.1:1{anthropic}"
    assert set(upstreams.values()) == {"http://127.0.0.1:9099"}


@pytest.mark.parametrize("value", ["localhost:8080/v1", "ftp://host/v1", "http:///v1", "http://host:99999", "/v1"])
def test_what_is_no_base_url_is_refused_by_its_variables_name_and_not_shown(value: str) -> None:
    with pytest.raises(MountError, match="OPENAI_BASE_URL") as refused:
        child_environment(1, {"OPENAI_BASE_URL": value})
    assert value not in str(refused.value)
    with pytest.raises(MountError, match="--upstream"):
        child_environment(1, {}, upstream=value)


def test_a_child_behind_a_proxy_still_reaches_the_shim_directly() -> None:
    updates, _ = child_environment(1, {"HTTP_PROXY": "http://proxy:3128", "no_proxy": "example.com, .internal"})
    assert updates["no_proxy"] == "example.com, .internal,127.0.0.1"
    assert updates["NO_PROXY"] == "127.0.0.1"
    assert "no_proxy" not in child_environment(1, {})[0]


def test_a_mount_prefixes_the_path_of_its_base_url() -> None:
    table = MountTable({"openai": "https://host/base/", "anthropic": "https://api.anthropic.com"})
    assert table.mounted("/openai/v1/chat/completions") == Target("https://host", "/base/v1/chat/completions")
    assert table.mounted("/anthropic") == Target("https://api.anthropic.com", "/")
    assert table.mounted("/v1/chat/completions") is None
    assert table.mounted("/openaix/v1") is None


def test_a_path_without_a_mount_goes_to_its_providers_host_and_else_to_openais() -> None:
    table = MountTable({"openai": "https://host/v1", "anthropic": "https://api.anthropic.com"})
    assert table.unmounted("/v1/chat/completions", "openai") == Target("https://host", "/v1/chat/completions")
    assert table.unmounted("/v1/messages", "anthropic") == Target("https://api.anthropic.com", "/v1/messages")
    assert table.unmounted("/api/chat", "ollama") == Target("https://host", "/api/chat")
    assert MountTable({}).unmounted("/v1/models", "openai") is None
