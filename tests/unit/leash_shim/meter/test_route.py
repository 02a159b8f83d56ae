"""Which endpoints are metered, free, unmeterable or refused for their path."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leash_shim.meter import RouteKind, route

VERTEX = "/v1/projects/p/locations/global/publishers"


@pytest.mark.parametrize(
    ("path", "wire_format", "provider"),
    [
        ("/chat/completions", "openai_chat", "openai"),
        ("/v1/chat/completions", "openai_chat", "openai"),
        ("/openai/v1/chat/completions", "openai_chat", "openai"),
        ("/v1beta/openai/chat/completions", "openai_chat", "openai"),
        ("/openai/deployments/my-gpt/chat/completions", "openai_chat", "openai"),
        ("/api/v1/chat/completions/", "openai_chat", "openai"),
        ("/caf%C3%A9/v1/chat/completions", "openai_chat", "openai"),
        ("/v1/completions", "openai_completions", "openai"),
        ("/openai/deployments/my-gpt/completions", "openai_completions", "openai"),
        ("/v1/responses", "openai_responses", "openai"),
        ("/openai/responses", "openai_responses", "openai"),
        ("/v1/responses/compact", "openai_responses", "openai"),
        ("/v1/embeddings", "openai_embeddings", "openai"),
        ("/api/v1/embeddings", "openai_embeddings", "openai"),
        ("/v1/images/generations", "openai_images", "openai"),
        ("/v1/images/edits", "openai_images", "openai"),
        ("/v1/audio/transcriptions", "openai_transcriptions", "openai"),
        ("/v1/audio/speech", "openai_speech", "openai"),
        ("/v1/messages", "anthropic_messages", "anthropic"),
        ("/messages", "anthropic_messages", "anthropic"),
        ("/anthropic/v1/messages", "anthropic_messages", "anthropic"),
        (f"{VERTEX}/anthropic/models/claude:rawPredict", "anthropic_messages", "anthropic"),
        (f"{VERTEX}/anthropic/models/claude@20250929:streamRawPredict", "anthropic_messages", "anthropic"),
        ("/v1beta/models/gemini-2.5-pro:generateContent", "gemini_content", "gemini"),
        ("/v1beta/models/gemini-2.5-pro:streamGenerateContent", "gemini_content", "gemini"),
        (f"{VERTEX}/google/models/gemini-2.5-pro:generateContent", "gemini_content", "gemini"),
        ("/v1beta/models/gemini-embedding-001:embedContent", "gemini_embeddings", "gemini"),
        ("/v1beta/models/gemini-embedding-001:batchEmbedContents", "gemini_embeddings", "gemini"),
        ("/api/chat", "ollama_generate", "ollama"),
        ("/proxied/api/generate", "ollama_generate", "ollama"),
        ("/api/embed", "ollama_embed", "ollama"),
    ],
)
def test_what_is_metered_behind_any_prefix(path: str, wire_format: str, provider: str) -> None:
    found = route("POST", path)
    assert found.kind is RouteKind.METERED
    assert found.format is not None
    assert (found.format.name, found.provider, found.why) == (wire_format, provider, "")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/health"),
        ("GET", "/v1/models"),
        ("HEAD", "/v1/models"),
        ("OPTIONS", "/v1/chat/completions"),
        ("GET", "/v1/models/gpt-4o"),
        ("GET", "/v1/chat/completions"),
        ("GET", "/v1/chat/completions/chatcmpl-1"),
        ("GET", "/v1/responses/resp_1"),
        ("DELETE", "/v1/responses/resp_1"),
        ("DELETE", "/v1/files/file-1"),
        ("GET", "/v1/files/file-1/content"),
        ("GET", "/api/tags"),
        ("POST", "/v1/files"),
        ("POST", "/files"),
        ("POST", "/upload/v1beta/files"),
        ("POST", "/v1/uploads"),
        ("POST", "/v1/uploads/upload_1/parts"),
        ("POST", "/v1/moderations"),
        ("POST", "/openai/moderations"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/anthropic/v1/messages/count_tokens"),
        ("POST", "/v1/responses/input_tokens"),
        ("POST", "/v1beta/models/gemini-2.5-pro:countTokens"),
        ("POST", "/api/show"),
        ("POST", "/api/pull"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("POST", "/v1/batches/batch_1/cancel"),
        ("POST", "/v1/messages/batches/msgbatch_1/cancel"),
        ("POST", f"{VERTEX}/google/models/gemini-2.5-pro:countTokens"),
        ("POST", f"{VERTEX}/anthropic/models/count-tokens:rawPredict"),
    ],
)
def test_what_only_reads_or_counts_or_stores_is_free(method: str, path: str) -> None:
    assert route(method, path).kind is RouteKind.FREE


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/"),
        ("POST", "/v1/batches"),
        ("POST", "/v1/chat/completions/chatcmpl-1"),
        ("POST", "/V1/Chat/Completions"),
        ("POST", "/v1/Chat/completions"),
        ("GET", "/v1beta/models/gemini-2.5-pro:generateContent"),
        ("POST", "/v1/xchat/completions/x"),
        ("POST", "/v1/vector_stores/vs_1/files"),
        ("POST", "/v1/containers/c_1/files"),
        ("POST", "/v1/threads/t_1/moderations"),
        ("POST", "/v1/uploads/u_1/parts/x"),
        ("PUT", "/v1/chat/completions"),
        ("PATCH", "/v1/files"),
        ("CONNECT", "/v1/realtime"),
        ("post", "/v1/files"),
        ("", "/v1/models"),
        ("GET", "/v1/realtime"),
        ("GET", "/v1/responses"),
        ("GET", "/v1/live"),
        ("GET", "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"),
    ],
)
def test_what_bills_or_is_unknown_is_unmeterable(method: str, path: str) -> None:
    found = route(method, path)
    assert found.kind is RouteKind.UNMETERABLE
    assert found.format is None
    assert found.why


@pytest.mark.parametrize(
    ("method", "path", "why"),
    [
        ("POST", "/v1/batches", "a batch bills when it is worked off"),
        ("POST", "/v1/messages/batches", "a batch bills when it is worked off"),
        ("POST", "/v1beta/models/gemini-2.5-pro:batchGenerateContent", "a batch bills when it is worked off"),
        ("POST", "/v1/fine_tuning/jobs", "training bills when it has ended"),
        ("POST", "/v1/videos", "video bills by the second"),
        ("POST", "/v1beta/models/veo-3:predictLongRunning", "video bills by the second"),
        ("POST", "/v1/realtime/calls", "realtime sessions bill for what goes over a WebSocket"),
        ("GET", "/v1/realtime", "realtime sessions bill for what goes over a WebSocket"),
        ("POST", "/v1/threads/t_1/runs", "the runs of an assistant bill in the background"),
        ("POST", "/v1/threads/t_1/messages", "the runs of an assistant bill in the background"),
        ("POST", "/v1/images/variations", "this endpoint bills by the second or by the picture"),
        ("POST", "/v1/audio/translations", "this endpoint bills by the second or by the picture"),
        ("POST", "/v1/vector_stores", "what is stored there bills by size and time"),
        ("POST", "/v1/complete", "text completions of Anthropic report no usage"),
        ("POST", "/api/embeddings", "this older endpoint of Ollama tells no counts"),
        ("POST", "/model/anthropic.claude/converse", "leash does not read the wire format of this endpoint"),
        ("POST", f"{VERTEX}/google/models/imagen:predict", "leash does not read the wire format of this endpoint"),
        ("POST", "/v2/chat", "this endpoint is unknown to leash"),
    ],
)
def test_what_cannot_be_metered_says_why(method: str, path: str, why: str) -> None:
    found = route(method, path)
    assert found.kind is RouteKind.UNMETERABLE
    assert found.why.startswith(why)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "*",
        "v1/models",
        "http://api.openai.com/v1/models",
        "//api.openai.com/v1/models",
        "/v1//models",
        "/v1/models//",
        "/v1/./models",
        "/v1/../models",
        "/v1/models/..",
        "/v1/.",
        "/v1/..;x=1/models",
        "/v1/;x/models",
        "/v1/%2e%2e/models",
        "/v1/ch%61t/completions",
        "/openai/deploym%65nts/m/chat/completions",
        "/v1beta/mod%2565ls/m:generateContent",
        "/v1/%7euser",
        "/v1/%2E/models",
        "/v1%2fmodels",
        "/v1%2Fmodels",
        "/v1/%252fmodels",
        "/v1/%25252e%25252e/models",
        "/v1/%5cmodels",
        "/v1/chat\\completions",
        "/v1/chat/completions%3f/v1/files",
        "/v1/chat/completions%23/v1/models",
        "/v1/models/..%3B/chat/completions",
        "/v1/models%253fa",
        "/v1/models%00",
        "/v1/models%0d%0a",
        "/v1/models%7f",
        "/v1/models\x00",
        "/v1/models\n",
        "/v1/models\x7f",
        "/v1/mod els",
        "/v1/modéls",
        "/v1/models%",
        "/v1/models%4",
        "/v1/models%zz",
        "/v1/%c0%ae%c0%ae/models",
        "/v1/%e0%80%af/models",
        "/v1/%ff",
        "/v1/chat/completions#/moderations",
        "/v1/chat/completions?/moderations",
    ],
)
def test_a_path_that_could_mean_two_things_is_refused(path: str) -> None:
    for method in ("GET", "POST"):
        assert route(method, path).kind is RouteKind.BAD_PATH


@pytest.mark.parametrize(
    ("path", "header_names", "provider"),
    [
        ("/v1/models", (), "openai"),
        ("/v1/models", (b"anthropic-version",), "anthropic"),
        ("/v1/models", (b"x-goog-api-key",), "gemini"),
        ("/v1/messages", (), "anthropic"),
        ("/v1/messages/count_tokens", (), "anthropic"),
        ("/v1/threads/t_1/messages", (), "openai"),
        ("/v1/chat/completions/c_1/messages", (), "openai"),
        ("/v1beta/models/gemini-2.5-pro:generateContent", (), "gemini"),
        ("/v1beta/models", (), "gemini"),
        ("/v1beta/openai/models", (), "openai"),
        ("/api/chat", (), "ollama"),
        ("/api/tags", (), "ollama"),
        ("/api/v1/models", (), "openai"),
        ("/v1/embeddings", (), "openai"),
    ],
)
def test_the_provider_is_told_by_the_path_or_else_by_a_header(
    path: str, header_names: tuple[bytes, ...], provider: str
) -> None:
    assert route("POST", path, header_names).provider == provider


def test_a_header_that_overrides_the_method_makes_nothing_free() -> None:
    assert route("GET", "/v1/models", {b"x-http-method-override"}).kind is RouteKind.UNMETERABLE
    assert route("POST", "/v1/chat/completions", {b"x-http-method-override"}).kind is RouteKind.METERED


@settings(deadline=None)
@given(
    st.sampled_from(["GET", "POST", "DELETE", "X"]),
    st.one_of(st.text(), st.text(alphabet="/.%25eEfF;\\:vV1abc", max_size=24).map(lambda rest: "/" + rest)),
)
def test_any_path_gets_a_route_and_no_free_one_hides_a_dot_segment(method: str, path: str) -> None:
    found = route(method, path)
    if found.kind is not RouteKind.BAD_PATH:
        assert path.startswith("/")
        assert "//" not in path
        assert not {".", ".."} & set(path.split("/"))
        assert "%2" not in path.lower() or all(part[:2] not in ("2e", "2f") for part in path.lower().split("%"))
