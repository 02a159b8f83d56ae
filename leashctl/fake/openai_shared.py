"""What OpenAI's endpoints have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leashctl.fake.answer import CREATED

if TYPE_CHECKING:
    from leashctl.fake.settings import FakeProviderSettings

REQUEST_ID_HEADER = b"x-request-id"


def error(status: int, message: str) -> dict[str, Any]:
    """The body of an error."""
    del status
    return {"error": {"message": message, "type": "fake_provider_error", "param": None, "code": None}}


def models(settings: FakeProviderSettings) -> dict[str, Any]:
    """The list of models."""
    model = {"id": settings.model, "object": "model", "created": CREATED, "owned_by": "leash"}
    return {"object": "list", "data": [model]}


def wants_usage(content: dict[str, Any]) -> bool:
    """Whether a stream is to end with its usage (``stream_options.include_usage``)."""
    return bool((content.get("stream_options") or {}).get("include_usage"))


def usage(settings: FakeProviderSettings, output_tokens: int) -> dict[str, Any]:
    """The usage of a completion, in the names that chat and the older completions share."""
    return {
        "prompt_tokens": settings.prompt_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": settings.prompt_tokens + output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
