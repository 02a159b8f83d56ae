"""Exchanges in the formats of OpenAI's images, transcriptions and speech."""

from __future__ import annotations

from dataclasses import replace

from leash.usage import Usage
from tests.exchanges.exchange import EVENTS, Exchange, dump, events, pretty

_IMAGE_MODEL = "gpt-image-1"
_DRAW = {"model": _IMAGE_MODEL, "prompt": "rain"}
_IMAGE_USAGE = {
    "input_tokens": 350,
    "input_tokens_details": {"text_tokens": 50, "image_tokens": 300},
    "output_tokens": 1_056,
    "total_tokens": 1_406,
}
_IMAGE_READ = Usage(input_tokens=350, output_tokens=1_056, image_input_tokens=300, image_output_tokens=1_056)

_FORM = "multipart/form-data; boundary=----WebKitFormBoundaryA1b2"
_QUOTED_FORM = 'multipart/form-data; charset=utf-8; boundary="a b"'


def _form(boundary: str, fields: dict[str, str], *, file_field: str, file: bytes) -> bytes:
    """A form as SDKs send it, whose file contains what looks like a field."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    parts.insert(
        1,
        f'--{boundary}\r\nContent-Disposition: form-data; name="{file_field}"; filename="a.png"\r\n'.encode()
        + b"Content-Type: image/png\r\n\r\n"
        + file
        + b"\r\n",
    )
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


_PICTURE = b'\x89PNG\r\n\r\nContent-Disposition: form-data; name="model"\r\n\r\ncheap\r\n' * 20


def _picture(kind: str, data: str, **fields: object) -> dict[str, object]:
    return {"type": kind, "b64_json": data, "created_at": 1_760_000_000, "size": "1024x1024", **fields}


_IMAGES = (
    Exchange(
        name="image",
        path="/v1/images/generations",
        request=dump(_DRAW),
        answer=pretty({"created": 1_760_000_000, "data": [{"b64_json": "iVBORw0KGgo="}], "usage": _IMAGE_USAGE}),
        usage=_IMAGE_READ,
    ),
    Exchange(
        name="image-edit-form",
        path="/v1/images/edits",
        request=_form(
            "----WebKitFormBoundaryA1b2",
            {"model": _IMAGE_MODEL, "prompt": "more rain", "n": "1"},
            file_field="image[]",
            file=_PICTURE,
        ),
        request_type=_FORM,
        answer=dump(
            {
                "created": 1_760_000_000,
                "data": [{"b64_json": "iVBORw0KGgo="}],
                "usage": _IMAGE_USAGE | {"output_tokens_details": {"image_tokens": 1_000, "text_tokens": 56}},
            }
        ),
        usage=replace(_IMAGE_READ, image_output_tokens=1_000),
    ),
    Exchange(
        name="image-large",
        path="/v1/images/generations",
        request=dump(_DRAW | {"n": 2}),
        answer=b'{"created":1,"data":[{"b64_json":"%s"}],"usage":%s}' % (b"iVBORw0KGgo" * 200_000, dump(_IMAGE_USAGE)),
        usage=_IMAGE_READ,
    ),
    Exchange(
        name="image-drawing",
        path="/openai/deployments/draw/images/generations",
        request=dump(_DRAW | {"output_format": "svg"}),
        answer=dump(
            {
                "created": 1_760_000_000,
                "data": [{"b64_json": "PHN2Zz4="}],
                "usage": _IMAGE_USAGE,
                "svg_usage": {"model": "gpt-5", "input_tokens": 9, "output_tokens": 99, "total_tokens": 108},
            }
        ),
        usage=replace(_IMAGE_READ, other_tool_requests=1),
    ),
    Exchange(
        name="image-by-the-picture",
        path="/v1/images/generations",
        request=dump(_DRAW | {"model": "dall-e-3"}),
        answer=dump({"created": 1_760_000_000, "data": [{"url": "https://example.com/a.png"}]}),
    ),
    Exchange(
        # Two pictures, each with previews before it.
        name="image-stream",
        path="/v1/images/generations",
        request=dump(_DRAW | {"stream": True, "partial_images": 1, "n": 2}),
        answer=events(
            _picture("image_generation.partial_image", "iVBO", partial_image_index=0),
            _picture("image_generation.completed", "iVBORw0K", usage=_IMAGE_USAGE),
            _picture("image_generation.partial_image", "iVBO", partial_image_index=0),
            _picture("image_generation.completed", "iVBORw0K", usage=_IMAGE_USAGE),
            named=True,
        ),
        answer_type=EVENTS,
        usage=Usage(input_tokens=700, output_tokens=2_112, image_input_tokens=600, image_output_tokens=2_112),
    ),
    Exchange(
        # A picture of several megabytes stands before the usage, in the same event and in the one before.
        name="image-stream-large",
        path="/v1/images/edits",
        request=_form("a b", {"model": _IMAGE_MODEL, "stream": "true"}, file_field="image", file=_PICTURE),
        request_type=_QUOTED_FORM,
        answer=events(
            _picture("image_edit.partial_image", "iVBORw0KGgo" * 150_000, partial_image_index=0),
            _picture("image_edit.completed", "iVBORw0KGgo" * 250_000, usage=_IMAGE_USAGE),
            named=True,
        ),
        answer_type=EVENTS,
        usage=_IMAGE_READ,
    ),
    Exchange(
        name="image-stream-cut",
        path="/v1/images/generations",
        request=dump(_DRAW | {"stream": True, "partial_images": 1}),
        answer=events(_picture("image_generation.partial_image", "iVBO", partial_image_index=0), named=True),
        answer_type=EVENTS,
        broken_off=True,
    ),
)

_HEARD = {
    "type": "tokens",
    "input_tokens": 140,
    "input_token_details": {"text_tokens": 10, "audio_tokens": 130},
    "output_tokens": 12,
    "total_tokens": 152,
}
_HEARD_READ = Usage(input_tokens=140, output_tokens=12, audio_input_tokens=130)
_LISTEN = _form("a b", {"model": "gpt-4o-transcribe", "language": "en"}, file_field="file", file=_PICTURE)

_TRANSCRIPTS = (
    Exchange(
        name="transcription",
        path="/v1/audio/transcriptions",
        request=_LISTEN,
        request_type=_QUOTED_FORM,
        answer=pretty({"text": "It rains in Bergen.", "usage": _HEARD}),
        usage=_HEARD_READ,
        says="heard",
    ),
    Exchange(
        name="transcription-by-the-second",
        path="/v1/audio/transcriptions",
        request=_LISTEN.replace(b"gpt-4o-transcribe", b"whisper-1"),
        request_type=_QUOTED_FORM,
        answer=dump({"text": "It rains in Bergen.", "usage": {"type": "duration", "seconds": 9.5}}),
        says="heard",
    ),
    Exchange(
        name="transcription-stream",
        path="/openai/deployments/ears/audio/transcriptions",
        request=_form("a b", {"model": "ignored", "stream": "true"}, file_field="file", file=_PICTURE),
        request_type=_QUOTED_FORM,
        answer=events(
            {"type": "transcript.text.delta", "delta": "It rains"},
            {"type": "transcript.text.delta", "delta": " in Bergen."},
            {"type": "transcript.text.done", "text": "It rains in  Bergen.", "usage": _HEARD},
        ),
        answer_type=EVENTS,
        usage=_HEARD_READ,
        says="heard",
    ),
    Exchange(
        name="transcription-stream-cut",
        path="/v1/audio/transcriptions",
        request=_form("a b", {"model": "gpt-4o-transcribe", "stream": "true"}, file_field="file", file=_PICTURE),
        request_type=_QUOTED_FORM,
        answer=events({"type": "transcript.text.delta", "delta": "It rains"}),
        answer_type=EVENTS,
        broken_off=True,
    ),
)

_SPEECH = (
    Exchange(
        name="speech-stream",
        path="/v1/audio/speech",
        request=dump({"model": "gpt-4o-mini-tts", "input": "It rains.", "voice": "alloy", "stream_format": "sse"}),
        answer=events(
            {"type": "speech.audio.delta", "audio": "UklGRg=="},
            {"type": "speech.audio.delta", "audio": "AAAA"},
            {
                "type": "speech.audio.done",
                "usage": {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115},
            },
        ),
        answer_type=EVENTS,
        usage=Usage(input_tokens=14, output_tokens=101, audio_output_tokens=101),
    ),
    Exchange(
        name="speech-stream-error",
        path="/v1/audio/speech",
        request=dump({"model": "gpt-4o-mini-tts", "input": "It rains.", "voice": "alloy", "stream_format": "sse"}),
        answer=events(
            {"type": "speech.audio.delta", "audio": "UklGRg=="}, {"type": "error", "error": {"message": "failed"}}
        ),
        answer_type=EVENTS,
        broken_off=True,
    ),
)

EXCHANGES = _IMAGES + _TRANSCRIPTS + _SPEECH
