from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest

from leash_shim.families import FAMILIES
from leash_shim.meter import RouteKind, route
from leash_shim.mounts import MountError, MountTable, Target, child_environment, gateway_upstreams
from tests.harness import REPOSITORY

SHIM = "http://127.0.0.1:1"

# What real clients append to the address that they find in a variable which nobody has set, and where that has to end.
# Each was seen with the package itself: the path that it appends, and where it goes without leash.
REQUESTS = [
    ("OPENAI_BASE_URL", "/chat/completions", "https://api.openai.com/v1/chat/completions"),
    ("OPENAI_API_BASE", "/embeddings", "https://api.openai.com/v1/embeddings"),
    ("OPENAI_HOST", "/v1/chat/completions", "https://api.openai.com/v1/chat/completions"),
    ("ANTHROPIC_BASE_URL", "/v1/messages", "https://api.anthropic.com/v1/messages"),
    ("ANTHROPIC_BASE_URL", "/messages", "https://api.anthropic.com/v1/messages"),
    ("ANTHROPIC_BASE_URL", "", "https://api.anthropic.com/"),
    ("ANTHROPIC_BASE_URL", "/api/hello", "https://api.anthropic.com/api/hello"),
    ("ANTHROPIC_API_URL", "/v1/messages", "https://api.anthropic.com/v1/messages"),
    ("ANTHROPIC_API_BASE", "/v1/messages", "https://api.anthropic.com/v1/messages"),
    ("ANTHROPIC_HOST", "/v1/messages", "https://api.anthropic.com/v1/messages"),
    (
        "GOOGLE_GEMINI_BASE_URL",
        "/v1/models/gemini:generateContent",
        "https://generativelanguage.googleapis.com/v1/models/gemini:generateContent",
    ),
    (
        "GEMINI_API_BASE",
        "/models/gemini:generateContent",
        "https://generativelanguage.googleapis.com/v1beta/models/gemini:generateContent",
    ),
    ("GEMINI_API_BASE", "/v1beta/models", "https://generativelanguage.googleapis.com/v1beta/models"),
    ("OLLAMA_HOST", "/api/chat", "http://127.0.0.1:11434/api/chat"),
    ("OLLAMA_HOST", "/v1/chat/completions", "http://127.0.0.1:11434/v1/chat/completions"),
    ("OLLAMA_API_BASE", "/api/show", "http://localhost:11434/api/show"),
    ("GROQ_BASE_URL", "/openai/v1/chat/completions", "https://api.groq.com/openai/v1/chat/completions"),
    ("GROQ_API_BASE", "/openai/v1/chat/completions", "https://api.groq.com/openai/v1/chat/completions"),
    ("GROQ_API_BASE", "/chat/completions", "https://api.groq.com/openai/v1/chat/completions"),
    ("TOGETHER_BASE_URL", "/v1/chat/completions", "https://api.together.ai/v1/chat/completions"),
    ("TOGETHER_BASE_URL", "/chat/completions", "https://api.together.ai/v1/chat/completions"),
    ("FIREWORKS_BASE_URL", "/v1/chat/completions", "https://api.fireworks.ai/inference/v1/chat/completions"),
    ("FIREWORKS_BASE_URL", "/v1/accounts/a/models", "https://api.fireworks.ai/v1/accounts/a/models"),
    ("FIREWORKS_API_BASE", "/chat/completions", "https://api.fireworks.ai/inference/v1/chat/completions"),
    ("CEREBRAS_BASE_URL", "/v1/chat/completions", "https://api.cerebras.ai/v1/chat/completions"),
    ("CEREBRAS_BASE_URL", "/chat/completions", "https://api.cerebras.ai/v1/chat/completions"),
    ("XAI_API_BASE", "/v1/models", "https://api.x.ai/v1/models"),
    ("XAI_API_BASE", "/chat/completions", "https://api.x.ai/v1/chat/completions"),
    ("CO_API_URL", "/v2/chat", "https://api.cohere.com/v2/chat"),
    ("DEEPSEEK_API_BASE", "/chat/completions", "https://api.deepseek.com/beta/chat/completions"),
    ("OPENROUTER_API_BASE", "/chat/completions", "https://openrouter.ai/api/v1/chat/completions"),
    ("MISTRAL_AZURE_API_BASE", "/chat/completions", "https://api.mistral.ai/v1/chat/completions"),
    ("PERPLEXITY_API_BASE", "/chat/completions", "https://api.perplexity.ai/chat/completions"),
]


def reached(updates: dict[str, str], upstreams: dict[str, str], variable: str, appended: str) -> str:
    """Where a request ends that a client sends below the address in a variable."""
    target = MountTable(upstreams).mounted(urlsplit(updates[variable] + appended).path)
    assert target is not None
    return target.origin + target.path


@pytest.mark.parametrize(("variable", "appended", "url"), REQUESTS)
def test_what_nobody_has_set_ends_where_its_readers_would_have_gone(variable: str, appended: str, url: str) -> None:
    assert reached(*child_environment(1, {}), variable, appended) == url


def test_every_default_is_governed_and_nothing_else_is_set() -> None:
    updates, upstreams = child_environment(4711, {})
    defaults = {variable: family for family in FAMILIES if family.default_url for variable in family.variables}
    assert updates.keys() == defaults.keys()
    for variable, family in defaults.items():
        origin, slash, path = updates[variable].removeprefix("http://").partition("/")
        assert (origin, slash) == ("127.0.0.1:4711", "/")
        assert path.split("/")[0] == family.name
        below = urlsplit(family.default_url).path.rstrip("/") + "/chat/completions"
        whole = family.default_url.rstrip("/") + "/chat/completions"
        assert reached({variable: f"{SHIM}/{family.name}"}, upstreams, variable, below) == whole


def test_the_page_about_agents_lists_every_variable() -> None:
    page = (REPOSITORY / "docs" / "agents.md").read_text(encoding="utf-8")
    _, _, tables = page.partition("## What wrap sets")
    redirected, _, when_set = tables.partition("Only where somebody has set them")
    listed = [
        set(re.findall(r"`([A-Z0-9]+_[A-Z0-9_]+)`", part.split("`--upstream")[0])) for part in (redirected, when_set)
    ]
    assert listed == [
        {variable for family in FAMILIES if bool(family.default_url) is has_default for variable in family.variables}
        for has_default in (True, False)
    ]


def test_no_variable_belongs_to_two_families_and_no_mount_to_two_hosts() -> None:
    variables = [variable for family in FAMILIES for variable in family.variables]
    assert len(variables) == len(set(variables))
    names = [family.name for family in FAMILIES]
    assert len(names) == len(set(names))
    # A second variable of a family is a mount of its own where it names another host.
    later = {variable.lower() for family in FAMILIES for variable in family.variables[1:]}
    assert later.isdisjoint(names)


# The first segment of every path that a provider has at its own host, and of those that clients send without a base.
REAL_PATHS = (
    *("/v1/chat/completions", "/v1beta/models/m:generateContent", "/v1beta1/projects/p/locations/l", "/v1alpha/files"),
    *("/api/chat", "/api/v1/chat/completions", "/beta/chat/completions", "/chat/completions", "/completions"),
    *("/messages", "/responses", "/embeddings", "/models", "/inference/v1/chat/completions", "/v2/chat", "/v3/openai"),
    *("/compat/v1/chat/completions", "/studio/v1/chat/completions", "/serverless/v1/models", "/compatible-mode/v1"),
    *(
        "/deployments/d/chat/completions",
        "/upload/v1beta/files",
        "/audio/speech",
        "/images/generations",
        "/",
        "/health",
    ),
)


@pytest.mark.parametrize("path", REAL_PATHS)
def test_no_mount_hides_a_path_that_providers_have(path: str) -> None:
    table = MountTable({family.name: "http://host" for family in FAMILIES})
    assert table.mounted(path) is None
    assert route("POST", path).kind is not RouteKind.BAD_PATH


def test_the_routes_know_each_mount_that_bears_a_providers_name() -> None:
    paths = ("/v1/chat/completions", "/v1/messages", "/v1beta/models/m:generateContent", "/api/chat")
    assert [route("POST", path).provider for path in paths] == [family.name for family in FAMILIES[:4]]


@pytest.mark.parametrize(
    ("before", "child", "origin"),
    [
        ("http://host:9099/v1", f"{SHIM}/openai/v1", "http://host:9099"),
        ("https://host/openai/v1", f"{SHIM}/openai/openai/v1", "https://host"),
        ("https://host/openai/v1/", f"{SHIM}/openai/openai/v1/", "https://host"),
        ("http://host", f"{SHIM}/openai", "http://host"),
        ("http://[::1]:8080/v1?key=a%2Fb", f"{SHIM}/openai/v1?key=a%2Fb", "http://[::1]:8080"),
        ("https://me:pass@host/v1", "http://me:pass@127.0.0.1:1/openai/v1", "https://host"),
    ],
)
def test_only_the_origin_of_a_base_url_changes(before: str, child: str, origin: str) -> None:
    updates, upstreams = child_environment(1, {"OPENAI_BASE_URL": before})
    assert updates["OPENAI_BASE_URL"] == updates["OPENAI_API_BASE"] == child
    assert upstreams["openai"] == origin


@pytest.mark.parametrize("variable", [variable for family in FAMILIES for variable in family.variables])
def test_every_variable_that_was_set_keeps_its_host_and_its_path(variable: str) -> None:
    updates, upstreams = child_environment(1, {variable: "https://mine:8443/a%2Fb/v1"})
    assert updates[variable].endswith("/a%2Fb/v1")
    url = reached(updates, upstreams, variable, "/anything")
    assert url == "https://mine:8443/a%2Fb/v1/anything"


def test_an_address_without_version_that_was_set_is_not_completed() -> None:
    updates, upstreams = child_environment(1, {"ANTHROPIC_BASE_URL": "https://gateway"})
    assert reached(updates, upstreams, "ANTHROPIC_BASE_URL", "/messages") == "https://gateway/messages"


def test_two_variables_of_a_family_may_name_two_hosts() -> None:
    environ = {"OPENAI_BASE_URL": "http://one/v1", "OPENAI_API_BASE": "http://two/v1"}
    updates, upstreams = child_environment(1, environ)
    assert updates["OPENAI_BASE_URL"] == f"{SHIM}/openai/v1"
    assert updates["OPENAI_API_BASE"] == f"{SHIM}/openai_api_base/v1"
    assert (upstreams["openai"], upstreams["openai_api_base"]) == ("http://one", "http://two")


def test_the_older_variable_alone_serves_for_both() -> None:
    updates, upstreams = child_environment(1, {"OPENAI_BASE_URL": " ", "OPENAI_API_BASE": "http://two/v1"})
    assert updates["OPENAI_BASE_URL"] == updates["OPENAI_API_BASE"] == f"{SHIM}/openai/v1"
    assert upstreams["openai"] == "http://two"


def test_readers_of_one_variable_alone_do_not_follow_another() -> None:
    updates, upstreams = child_environment(1, {"ANTHROPIC_BASE_URL": "http://mine", "OLLAMA_HOST": "http://gpu:1"})
    assert reached(updates, upstreams, "ANTHROPIC_API_URL", "/v1/messages") == "http://mine/v1/messages"
    assert reached(updates, upstreams, "ANTHROPIC_HOST", "/v1/messages") == "https://api.anthropic.com/v1/messages"
    assert reached(updates, upstreams, "OLLAMA_API_BASE", "/api/chat") == "http://localhost:11434/api/chat"


def test_a_family_without_a_default_is_governed_once_it_is_set() -> None:
    updates, upstreams = child_environment(1, {"AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com/"})
    assert updates["AZURE_OPENAI_ENDPOINT"] == f"{SHIM}/azure/"
    assert upstreams["azure"] == "https://mine.openai.azure.com"


def test_beside_an_azure_endpoint_the_variable_that_langchain_refuses_stays_unset() -> None:
    azure = {"AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com/"}
    updates, _ = child_environment(1, {**azure, "OPENAI_API_KEY": "k"})
    assert "OPENAI_API_BASE" not in updates
    assert "OPENAI_BASE_URL" in updates
    assert "OPENAI_API_BASE" in child_environment(1, {**azure, "OPENAI_API_BASE": "http://mine/v1"})[0]


def test_where_azure_alone_is_used_its_key_is_not_led_to_openai() -> None:
    azure = {"AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com/"}
    assert "OPENAI_BASE_URL" not in child_environment(1, azure)[0]
    assert "OPENAI_BASE_URL" in child_environment(1, {**azure, "OPENAI_BASE_URL": "http://mine/v1"})[0]
    assert "OPENAI_BASE_URL" in child_environment(1, azure, upstream="http://mine/v1")[0]


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("gpu", "http://gpu:11434"),
        ("gpu/", "http://gpu:11434"),
        (":5000", "http://127.0.0.1:5000"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:80", "http://127.0.0.1:80"),
        ("'gpu:1' ", "http://gpu:1"),
        ("http://gpu", "http://gpu"),
        ("https://gpu:8443", "https://gpu:8443"),
        ("::1", "http://[::1]:11434"),
        ("[::]:5000", "http://[::1]:5000"),
        ("http://[::1]", "http://[::1]"),
        ("ollama.com", "https://ollama.com"),
    ],
)
def test_ollamas_address_is_read_as_its_clients_read_it(value: str, url: str) -> None:
    updates, upstreams = child_environment(1, {"OLLAMA_HOST": value})
    assert updates["OLLAMA_HOST"].rstrip("/") == f"{SHIM}/ollama"
    assert upstreams["ollama"] == url


def test_a_path_below_ollamas_address_is_kept() -> None:
    updates, upstreams = child_environment(1, {"OLLAMA_HOST": "gpu:1/below"})
    assert reached(updates, upstreams, "OLLAMA_HOST", "/api/chat") == "http://gpu:1/below/api/chat"


@pytest.mark.parametrize(
    ("environ", "appended", "url"),
    [
        ({"OPENAI_HOST": "http://mine:8000"}, "/v1/chat/completions", "http://mine:8000/v1/chat/completions"),
        ({"OPENAI_HOST": "http://mine/a"}, "/v1/chat/completions", "http://mine/a/v1/chat/completions"),
        # It goes before OPENAI_BASE_URL, and must not lead away from it.
        ({"OPENAI_BASE_URL": "http://mine/v1"}, "/v1/chat/completions", "http://mine/v1/chat/completions"),
        ({"OPENAI_BASE_URL": "http://mine/a/v1/"}, "/v1/chat/completions", "http://mine/a/v1/chat/completions"),
    ],
)
def test_gooses_host_ends_where_it_would_have(environ: dict[str, str], appended: str, url: str) -> None:
    assert reached(*child_environment(1, environ), "OPENAI_HOST", appended) == url


@pytest.mark.parametrize("base_url", ["http://mine/api", "http://mine/v1?version=2"])
def test_gooses_host_stays_unset_where_it_could_not_say_the_same(base_url: str) -> None:
    updates, _ = child_environment(1, {"OPENAI_BASE_URL": base_url})
    assert "OPENAI_HOST" not in updates


def test_gooses_absolute_path_does_not_lose_the_mount() -> None:
    environ = {"OPENAI_HOST": "http://mine/dropped", "OPENAI_BASE_PATH": "/openai/v1/chat/completions"}
    updates, upstreams = child_environment(1, environ)
    assert updates["OPENAI_BASE_PATH"] == "openai/v1/chat/completions"
    url = reached(updates, upstreams, "OPENAI_HOST", f"/{updates['OPENAI_BASE_PATH']}")
    assert url == "http://mine/openai/v1/chat/completions"
    assert "OPENAI_BASE_PATH" not in child_environment(1, {"OPENAI_BASE_PATH": "v1/chat/completions"})[0]


@pytest.mark.parametrize("upstream", ["http://127.0.0.1:9099", "http://127.0.0.1:9099/", "http://127.0.0.1:9099/v1"])
@pytest.mark.parametrize(
    ("variable", "appended", "path"),
    [
        ("OPENAI_BASE_URL", "/chat/completions", "/v1/chat/completions"),
        ("ANTHROPIC_BASE_URL", "/v1/messages", "/v1/messages"),
        ("ANTHROPIC_BASE_URL", "/messages", "/v1/messages"),
        ("OPENAI_HOST", "/v1/chat/completions", "/v1/chat/completions"),
        ("GOOGLE_GEMINI_BASE_URL", "/v1beta/models", "/v1beta/models"),
        ("OLLAMA_HOST", "/api/chat", "/api/chat"),
        ("OPENROUTER_API_BASE", "/chat/completions", "/v1/chat/completions"),
        ("GROQ_API_BASE", "/chat/completions", "/v1/chat/completions"),
    ],
)
def test_an_explicit_upstream_overrides_all(upstream: str, variable: str, appended: str, path: str) -> None:
    updates, upstreams = child_environment(1, {variable: "http://other/v1"}, upstream=upstream)
    assert reached(updates, upstreams, variable, appended) == f"http://127.0.0.1:9099{path}"
    assert {urlsplit(url).netloc for url in upstreams.values()} == {"127.0.0.1:9099"}


@pytest.mark.parametrize(
    ("variable", "appended", "path"),
    [
        ("OPENAI_BASE_URL", "/chat/completions", "/proxy/v1/chat/completions"),
        ("ANTHROPIC_BASE_URL", "/v1/messages", "/proxy/v1/messages"),
        ("ANTHROPIC_BASE_URL", "/messages", "/proxy/v1/messages"),
        ("OLLAMA_HOST", "/api/chat", "/proxy/api/chat"),
        ("MISTRAL_BASE_URL", "/chat/completions", "/proxy/v1/chat/completions"),
    ],
)
def test_an_explicit_upstream_may_have_a_path(variable: str, appended: str, path: str) -> None:
    overridden = child_environment(1, {}, upstream="http://127.0.0.1:9099/proxy/v1")
    assert reached(*overridden, variable, appended) == f"http://127.0.0.1:9099{path}"


def test_an_explicit_upstream_without_version_is_taken_as_it_is() -> None:
    overridden = child_environment(1, {}, upstream="http://127.0.0.1:9099/proxy")
    assert (
        reached(*overridden, "OPENAI_BASE_URL", "/chat/completions") == "http://127.0.0.1:9099/proxy/chat/completions"
    )
    assert reached(*overridden, "ANTHROPIC_BASE_URL", "/v1/messages") == "http://127.0.0.1:9099/proxy/v1/messages"


def test_an_explicit_upstream_chooses_no_provider_for_a_program() -> None:
    environ = {"VLLM_BASE_URL": "http://gpu:8000/v1"}
    updates, upstreams = child_environment(1, environ, upstream="http://127.0.0.1:9099")
    assert not updates.keys() & {"AZURE_OPENAI_ENDPOINT", "COPILOT_PROVIDER_BASE_URL", "CODEX_OSS_BASE_URL"}
    assert reached(updates, upstreams, "VLLM_BASE_URL", "/models") == "http://127.0.0.1:9099/v1/models"


@pytest.mark.parametrize("value", ["localhost:8080/v1", "ftp://host/v1", "http:///v1", "http://host:99999", "/v1"])
def test_what_is_no_base_url_is_refused_by_its_variables_name_and_not_shown(value: str) -> None:
    with pytest.raises(MountError, match="OPENAI_BASE_URL") as refused:
        child_environment(1, {"OPENAI_BASE_URL": value})
    assert value not in str(refused.value)
    with pytest.raises(MountError, match="--upstream"):
        child_environment(1, {}, upstream=value)
    with pytest.raises(MountError, match="AZURE_OPENAI_ENDPOINT"):
        child_environment(1, {"AZURE_OPENAI_ENDPOINT": value}, upstream="http://host")


def test_an_address_that_the_upstream_takes_the_place_of_may_be_malformed() -> None:
    updates, _ = child_environment(1, {"OPENAI_BASE_URL": "localhost:80"}, upstream="http://host")
    assert updates["OPENAI_BASE_URL"] == f"{SHIM}/openai/v1"


def test_every_base_url_begins_with_the_secret_and_ends_where_it_did_without() -> None:
    environ = {"AZURE_OPENAI_ENDPOINT": "https://mine/", "OLLAMA_HOST": "gpu:1/below", "OPENAI_BASE_URL": "http://a/v1"}
    for upstream in ("", "http://127.0.0.1:9099"):
        plain, plain_upstreams = child_environment(1, environ, upstream=upstream)
        updates, upstreams = child_environment(1, environ, upstream=upstream, secret="5ec2e7")
        assert upstreams == plain_upstreams
        assert updates == {
            variable: value.replace(f"{SHIM}/", f"{SHIM}/5ec2e7/", 1) for variable, value in plain.items()
        }
        assert all(f"{SHIM}/5ec2e7/" in value for value in updates.values())


def test_a_child_behind_a_proxy_still_reaches_the_shim_directly() -> None:
    updates, _ = child_environment(1, {"HTTP_PROXY": "http://proxy:3128", "no_proxy": "example.com, .internal"})
    assert updates["no_proxy"] == "example.com,.internal,127.0.0.1"
    # Some readers take the other spelling first, and what is reached past the proxy must stay so for them.
    assert updates["NO_PROXY"] == "example.com,.internal,127.0.0.1"
    assert "no_proxy" not in child_environment(1, {})[0]


@pytest.mark.parametrize("given", ["*", "127.0.0.1", "a, 127.0.0.1"])
def test_what_lets_the_loopback_past_a_proxy_already_stays_as_it_is(given: str) -> None:
    updates, _ = child_environment(1, {"HTTPS_PROXY": "x", "http_proxy": "http://proxy:3128", "NO_PROXY": given})
    assert "NO_PROXY" not in updates
    assert updates["no_proxy"] == given


@pytest.mark.parametrize(
    ("variable", "other"),
    [
        ("GROQ_API_BASE", "GROQ_BASE_URL"),
        ("FIREWORKS_API_BASE", "FIREWORKS_BASE_URL"),
        ("DEEPSEEK_ANTHROPIC_API_BASE", "DEEPSEEK_API_BASE"),
    ],
)
def test_a_default_does_not_go_before_an_address_that_its_readers_would_have_taken(variable: str, other: str) -> None:
    assert variable in child_environment(1, {})[0]
    updates, _ = child_environment(1, {other: "https://mine/v1"})
    assert variable not in updates
    assert other in updates
    assert variable in child_environment(1, {other: "https://mine/v1", variable: "https://own/v1"})[0]


def test_a_host_that_is_no_address_is_left_alone() -> None:
    assert "OPENAI_HOST" not in child_environment(1, {"OPENAI_HOST": "azure"})[0]


@pytest.mark.parametrize(
    ("below", "path"),
    [
        ("/chat/completions", "/openai/v1/chat/completions"),
        ("/v1/chat/completions", "/openai/v1/chat/completions"),
        ("/openai/v1/chat/completions", "/openai/v1/chat/completions"),
        ("/models", "/openai/v1/models"),
        ("/v1/models/", "/openai/v1/models/"),
        ("/v1", "/v1"),
        ("/telemetry", "/telemetry"),
        ("/v1/organization/usage", "/v1/organization/usage"),
        ("//chat/completions", "//chat/completions"),
        ("/", "/"),
        ("", "/"),
    ],
)
def test_a_mount_with_a_path_puts_in_what_an_endpoint_lacks(below: str, path: str) -> None:
    table = MountTable({"vendor": "https://host/openai/v1/"})
    assert table.mounted(f"/vendor{below}") == Target("https://host", path)


def test_a_mount_without_a_path_changes_none() -> None:
    table = MountTable({"openai": "https://host", "anthropic": "https://api.anthropic.com/"})
    assert table.mounted("/openai/chat/completions") == Target("https://host", "/chat/completions")
    assert table.mounted("/openai/a%2Fb//v1/") == Target("https://host", "/a%2Fb//v1/")
    assert table.mounted("/anthropic") == Target("https://api.anthropic.com", "/")
    assert table.mounted("/v1/chat/completions") is None
    assert table.mounted("/openaix/v1") is None


def test_a_path_without_a_mount_goes_to_its_providers_host_and_else_to_openais() -> None:
    table = MountTable({"openai": "https://host/v1", "anthropic": "https://api.anthropic.com"})
    assert table.unmounted("/v1/chat/completions", "openai") == Target("https://host", "/v1/chat/completions")
    assert table.unmounted("/v1/messages", "anthropic") == Target("https://api.anthropic.com", "/v1/messages")
    assert table.unmounted("/api/chat", "ollama") == Target("https://host", "/api/chat")
    assert MountTable({}).unmounted("/v1/models", "openai") is None


def test_a_path_without_a_mount_is_completed_as_one_with_it() -> None:
    table = MountTable({"openai": "https://openrouter.ai/api/v1", "gemini": "https://host/google"})
    for path in ("/chat/completions", "/v1/chat/completions", "/api/v1/chat/completions"):
        assert table.unmounted(path, "openai") == Target("https://openrouter.ai", "/api/v1/chat/completions")
    below = "/v1beta/models/m:generateContent"
    assert table.unmounted(below, "gemini") == Target("https://host", f"/google{below}")
    assert table.unmounted(f"/google{below}", "gemini") == Target("https://host", f"/google{below}")
    assert table.unmounted("/v2/telemetry", "openai") == Target("https://openrouter.ai", "/v2/telemetry")


def test_a_gateway_reaches_the_providers_where_nothing_else_is_said() -> None:
    assert gateway_upstreams({}) == {
        "openai": "https://api.openai.com/v1",
        "anthropic": "https://api.anthropic.com/v1",
        "gemini": "https://generativelanguage.googleapis.com",
        "ollama": "http://127.0.0.1:11434",
    }


def test_a_gateway_reads_the_variables_of_the_environment() -> None:
    upstreams = gateway_upstreams(
        {
            "OPENAI_API_BASE": "https://openrouter.ai/api/v1",
            "OLLAMA_HOST": "box",
            "GROQ_BASE_URL": "https://groq.example",
        }
    )

    assert upstreams["openai"] == "https://openrouter.ai/api/v1"
    assert upstreams["ollama"] == "http://box:11434"
    assert upstreams["groq_base_url"] == "https://groq.example"
    assert upstreams["anthropic"] == "https://api.anthropic.com/v1"


@pytest.mark.parametrize("upstream", ["http://host:9", "http://host:9/v1", "http://host:9/v1/"])
def test_one_host_stands_for_all_providers_of_a_gateway(upstream: str) -> None:
    table = MountTable(gateway_upstreams({"OPENAI_BASE_URL": "https://other"}, upstream=upstream))

    for provider, path in (
        ("openai", "/v1/chat/completions"),
        ("anthropic", "/v1/messages"),
        ("gemini", "/v1beta/models/m:generateContent"),
        ("ollama", "/api/chat"),
    ):
        assert table.unmounted(path, provider) == Target("http://host:9", path)
        assert table.mounted(f"/{provider}{path}") == Target("http://host:9", path)


def test_a_named_upstream_goes_before_all_else_and_may_be_a_mount_of_its_own() -> None:
    upstreams = gateway_upstreams(
        {"OPENAI_BASE_URL": "https://other"},
        upstream="http://host/v1",
        named={"openai": "https://mine/v1", "groq": "https://api.groq.com/openai/v1"},
    )
    table = MountTable(upstreams)

    assert upstreams["openai"] == "https://mine/v1"
    assert upstreams["anthropic"] == "http://host/v1"
    groq = Target("https://api.groq.com", "/openai/v1/chat/completions")
    assert table.mounted("/groq/v1/chat/completions") == table.mounted("/groq/chat/completions") == groq


@pytest.mark.parametrize(
    ("name", "message"),
    [
        *(
            (name, "small letters, digits, - and _, and no more than 63")
            for name in ("", "Groq", "a/b", "-x", "x" * 64)
        ),
        *(
            (name, f"paths begin with /{name} already")
            for name in ("t", "run", "v1", "v1beta", "api", "models", "chat")
        ),
    ],
)
def test_a_name_that_no_mount_can_have_is_refused(name: str, message: str) -> None:
    with pytest.raises(MountError, match=message):
        gateway_upstreams({}, named={name: "https://host"})


def test_what_is_no_base_url_is_named() -> None:
    with pytest.raises(MountError, match="--upstream groq is no base URL"):
        gateway_upstreams({}, named={"groq": "api.groq.com"})
