"""Exchanges in the format of OpenAI's responses, written after OpenAI's and the vendors' documentation."""

from __future__ import annotations

from dataclasses import replace

from leash.usage import Usage
from tests.exchanges.exchange import EVENTS, Exchange, dump, events, pretty

_MODEL = "gpt-5-2025-08-07"
_PATH = "/v1/responses"
_ASKED = {"model": "gpt-5", "input": "Where is it raining?"}
_STREAMED = _ASKED | {"stream": True}
_USAGE = {
    "input_tokens": 1_200,
    "input_tokens_details": {"cached_tokens": 1_024, "cache_write_tokens": 0},
    "output_tokens": 340,
    "output_tokens_details": {"reasoning_tokens": 256},
    "total_tokens": 1_540,
}
_READ = Usage(
    input_tokens=1_200, output_tokens=340, cached_input_tokens=1_024, reasoning_tokens=256, service_tier="default"
)

Item = dict[str, object]

_REASONING: Item = {"type": "reasoning", "id": "rs_1", "summary": []}
_CALL: Item = {
    "type": "function_call",
    "id": "fc_1",
    "call_id": "call_1",
    "name": "look_up",
    "arguments": '{"city":"Bern","days":2}',
    "status": "completed",
}
_CUSTOM_CALL: Item = {"type": "custom_tool_call", "call_id": "call_2", "name": "shell", "input": "ls -l"}
_SEARCHES: tuple[Item, ...] = (
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "rain"}},
    {
        "type": "web_search_call",
        "id": "ws_2",
        "status": "completed",
        "action": {"type": "open_page", "url": "https://a"},
    },
    {
        "type": "web_search_call",
        "id": "ws_3",
        "status": "completed",
        "action": {"type": "find_in_page", "url": "https://a", "pattern": "rain"},
    },
    {"type": "web_search_call", "id": "ws_4", "status": "completed", "action": {"type": "search", "query": "snow"}},
)
_BILLED: tuple[Item, ...] = (
    {"type": "file_search_call", "id": "fs_1", "queries": ["rain"], "results": None, "status": "completed"},
    {"type": "code_interpreter_call", "id": "ci_1", "code": "1 + 1", "container_id": "cntr_1", "outputs": []},
    {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBORw0KGgo="},
)


def _message(text: str, *, kind: str = "output_text") -> Item:
    part = {"type": kind, "refusal" if kind == "refusal" else "text": text}
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}


def _shell(environment: Item | None) -> Item:
    action = {"commands": ["ls"], "max_output_length": None, "timeout_ms": None}
    return {"type": "shell_call", "id": "sh_1", "call_id": "call_3", "action": action, "environment": environment}


_SAID = _message("In Bergen 🌧")


def _response(*items: Item, status: str = "completed", **fields: object) -> Item:
    whole: Item = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_760_000_000,
        "status": status,
        "error": None,
        "model": _MODEL,
        "output": list(items),
        "service_tier": "default",
        "usage": _USAGE,
    }
    return whole | fields


_BEGUN = _response(status="in_progress", usage=None, service_tier="auto")


def _event(kind: str, **fields: object) -> Item:
    return {"type": f"response.{kind}", **fields}


def _text_events(item: Item, *deltas: str) -> list[Item]:
    place = {"output_index": 0, "item_id": "msg_1", "content_index": 0}
    return [
        _event("output_item.added", output_index=0, item=item | {"content": [], "status": "in_progress"}),
        *(_event("output_text.delta", delta=delta, **place) for delta in deltas),
        _event("output_text.done", text="".join(deltas), **place),
        _event("output_item.done", output_index=0, item=item),
    ]


def _call_events(item: Item) -> list[Item]:
    arguments = str(item["arguments"])
    place = {"output_index": 1, "item_id": "fc_1"}
    return [
        _event("output_item.added", output_index=1, item=item | {"arguments": "", "status": "in_progress"}),
        *(_event("function_call_arguments.delta", delta=each, **place) for each in (arguments[:9], arguments[9:])),
        _event("function_call_arguments.done", arguments=arguments, **place),
        _event("output_item.done", output_index=1, item=item),
    ]


def _streamed(*between: Item, last: Item | None) -> list[Item]:
    ends = [] if last is None else [last]
    return [_event("created", response=_BEGUN), _event("in_progress", response=_BEGUN), *between, *ends]


_ERROR = {"code": "server_error", "message": "The model failed."}
_TEXT_STREAM = _text_events(_SAID, "In Ber", "gen 🌧")

_WHOLE = (
    Exchange(
        name="response",
        path=_PATH,
        request=dump(_ASKED),
        answer=pretty(_response(_REASONING, _SAID)),
        usage=_READ,
        model=_MODEL,
        says="text",
    ),
    Exchange(
        name="response-azure",
        path="/openai/v1/responses",
        request=dump(_ASKED | {"store": False, "service_tier": "priority"}),
        answer=dump(_response(_SAID, service_tier="priority")),
        usage=replace(_READ, service_tier="priority"),
        model=_MODEL,
        says="text",
    ),
    Exchange(
        name="response-tool",
        path=_PATH,
        request=dump(_ASKED),
        answer=dump(_response(_CALL)),
        usage=_READ,
        model=_MODEL,
        says="tool",
    ),
    Exchange(
        # That it reasoned first does not make another reply of it, nor does the order of its arguments.
        name="response-tool-after-reasoning",
        path=_PATH,
        request=dump(_ASKED),
        answer=dump(_response(_REASONING, _CALL | {"id": "fc_9", "arguments": '{"days": 2, "city": "Bern"}'})),
        usage=_READ,
        model=_MODEL,
        says="tool",
    ),
    Exchange(
        name="response-custom-tool",
        path=_PATH,
        request=dump(_ASKED | {"tools": [{"type": "custom", "name": "shell"}]}),
        answer=dump(_response(_CUSTOM_CALL)),
        usage=_READ,
        model=_MODEL,
        says="custom",
    ),
    Exchange(
        name="response-refusal",
        path=_PATH,
        request=dump(_ASKED),
        answer=dump(_response(_message("In Bergen 🌧", kind="refusal"))),
        usage=_READ,
        model=_MODEL,
        says="refusal",
    ),
    Exchange(
        name="response-searches",
        path=_PATH,
        request=dump(_ASKED | {"tools": [{"type": "web_search"}]}),
        answer=dump(_response(*_SEARCHES, _SAID)),
        usage=replace(_READ, web_search_requests=2),
        model=_MODEL,
        says="searched",
    ),
    Exchange(
        # Of the two searches one is discounted; the response says so itself.
        name="response-searches-told",
        path=_PATH,
        request=dump(_ASKED | {"tools": [{"type": "web_search"}]}),
        answer=dump(_response(*_SEARCHES, _SAID, tool_usage={"web_search": {"num_requests": 1}})),
        usage=replace(_READ, web_search_requests=1),
        model=_MODEL,
        says="searched",
    ),
    Exchange(
        name="response-billed-tools",
        path=_PATH,
        request=dump(_ASKED | {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]}),
        answer=dump(_response(*_BILLED, _SAID)),
        usage=replace(_READ, other_tool_requests=3),
        model=_MODEL,
        says="ran tools",
    ),
    Exchange(
        name="response-hosted-shell",
        path=_PATH,
        request=dump(_ASKED | {"tools": [{"type": "shell", "environment": {"type": "container_auto"}}]}),
        answer=dump(_response(_shell({"type": "container_reference", "container_id": "cntr_1"}))),
        usage=replace(_READ, other_tool_requests=1),
        model=_MODEL,
        says="hosted shell",
    ),
    Exchange(
        name="response-hosted-shell-not-told",
        path=_PATH,
        request=dump(_ASKED | {"tools": [{"type": "shell", "environment": {"type": "container_auto"}}]}),
        answer=dump(_response(_shell(None))),
        usage=replace(_READ, other_tool_requests=1),
        model=_MODEL,
        says="shell",
    ),
    Exchange(
        name="response-local-shell",
        path=_PATH,
        request=dump(_ASKED | {"tools": [{"type": "shell", "environment": {"type": "local"}}]}),
        answer=dump(_response(_shell({"type": "local"}))),
        usage=_READ,
        model=_MODEL,
        says="local shell",
    ),
    Exchange(
        name="response-approval",
        path=_PATH,
        request=dump(_ASKED | {"tools": [{"type": "mcp", "server_label": "a", "server_url": "https://a"}]}),
        answer=dump(
            _response(
                {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "a", "name": "f", "arguments": "{}"}
            )
        ),
        usage=_READ,
        model=_MODEL,
        says="asks for leave",
    ),
    Exchange(
        # Written to the cache for 12 hours and for less, and more reasoning than output, as some vendors report it.
        name="response-cache-writes",
        path=_PATH,
        request=dump(_ASKED),
        answer=dump(
            _response(
                _SAID,
                usage={
                    "input_tokens": 1_000,
                    "input_tokens_details": {
                        "cached_tokens": 100,
                        "cache_write_tokens": 500,
                        "cache_write_tokens_details": {"ttl_30m_tokens": 200, "ttl_12h_tokens": 300},
                    },
                    "output_tokens": 20,
                    "output_tokens_details": {"reasoning_tokens": 50},
                },
            )
        ),
        usage=Usage(
            input_tokens=1_000,
            output_tokens=70,
            cached_input_tokens=100,
            cache_write_tokens=200,
            cache_write_1h_tokens=300,
            reasoning_tokens=50,
            service_tier="default",
        ),
        model=_MODEL,
        says="text",
    ),
    Exchange(
        name="response-compact",
        path="/v1/responses/compact",
        request=dump(_ASKED | {"instructions": "Go on."}),
        answer=dump(
            {
                "id": "resp_2",
                "object": "response.compaction",
                "created_at": 1_760_000_000,
                "output": [{"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAA"}],
                "usage": _USAGE,
            }
        ),
        usage=replace(_READ, service_tier=""),
    ),
    Exchange(
        name="response-failed",
        path=_PATH,
        request=dump(_ASKED),
        answer=dump(_response(status="failed", error=_ERROR, usage=None)),
        model=_MODEL,
        broken_off=True,
    ),
    Exchange(
        name="response-without-usage",
        path=_PATH,
        request=dump(_ASKED),
        answer=dump(_response(_SAID, usage=None)),
        model=_MODEL,
        says="text",
    ),
    Exchange(
        name="response-error-at-200",
        path=_PATH,
        request=dump(_ASKED),
        answer=dump({"error": {"message": "The gateway is overloaded.", "type": "overloaded", "code": 529}}),
        broken_off=True,
    ),
)

_STREAMS = (
    Exchange(
        name="response-stream",
        path=_PATH,
        request=dump(_STREAMED),
        answer=events(*_streamed(*_TEXT_STREAM, last=_event("completed", response=_response(_SAID))), named=True),
        answer_type=EVENTS,
        usage=_READ,
        model=_MODEL,
        says="text",
    ),
    Exchange(
        name="response-stream-tool",
        path=_PATH,
        request=dump(_STREAMED),
        answer=events(
            *_streamed(*_call_events(_CALL), last=_event("completed", response=_response(_REASONING, _CALL))),
            named=True,
            newline=b"\r\n",
        ),
        answer_type=EVENTS,
        usage=_READ,
        model=_MODEL,
        says="tool",
    ),
    Exchange(
        # Vendors leave out the event lines, and what was said already from the last event.
        name="response-stream-without-output-at-the-end",
        path="/api/v1/responses",
        request=dump(_STREAMED),
        answer=events(
            *_streamed(
                _event("output_item.done", output_index=0, item=_REASONING),
                *_call_events(_CALL),
                _event("output_item.done", output_index=2, item=_SEARCHES[0]),
                last=_event("done", response=_response()),
            ),
            done=True,
        ),
        answer_type=EVENTS,
        usage=replace(_READ, web_search_requests=1),
        model=_MODEL,
        says="tool and search",
    ),
    Exchange(
        name="response-stream-incomplete",
        path=_PATH,
        request=dump(_STREAMED | {"max_output_tokens": 340}),
        answer=events(
            *_streamed(
                *_TEXT_STREAM,
                last=_event(
                    "incomplete",
                    response=_response(_SAID, status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
                ),
            ),
            named=True,
        ),
        answer_type=EVENTS,
        usage=_READ,
        model=_MODEL,
        says="text",
    ),
    Exchange(
        name="response-stream-failed-with-usage",
        path=_PATH,
        request=dump(_STREAMED),
        answer=events(*_streamed(last=_event("failed", response=_response(status="failed", error=_ERROR))), named=True),
        answer_type=EVENTS,
        usage=_READ,
        model=_MODEL,
    ),
    Exchange(
        name="response-stream-failed",
        path=_PATH,
        request=dump(_STREAMED),
        answer=events(
            *_streamed(last=_event("failed", response=_response(status="failed", error=_ERROR, usage=None))),
            named=True,
        ),
        answer_type=EVENTS,
        model=_MODEL,
        broken_off=True,
    ),
    Exchange(
        name="response-stream-error",
        path=_PATH,
        request=dump(_STREAMED),
        answer=events(*_streamed(*_TEXT_STREAM[:2], last={"type": "error", **_ERROR, "param": None}), named=True),
        answer_type=EVENTS,
        model=_MODEL,
        broken_off=True,
    ),
    Exchange(
        name="response-stream-cut",
        path=_PATH,
        request=dump(_STREAMED),
        answer=events(*_streamed(*_TEXT_STREAM[:3], last=None), named=True),
        answer_type=EVENTS,
        model=_MODEL,
        broken_off=True,
    ),
)

EXCHANGES = _WHOLE + _STREAMS
