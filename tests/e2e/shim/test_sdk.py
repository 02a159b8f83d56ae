"""The official openai package, unchanged, through the shim to the fake provider."""

from __future__ import annotations

import json
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import anyio
import openai
import pytest

from leash.v1 import shim_pb2, types_pb2
from leashctl.fake_provider import FakeProviderSettings, serve_fake_provider

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.anyio

ASK: Any = {"model": "demo-model", "messages": [{"role": "user", "content": "hi"}]}


@asynccontextmanager
async def fake_provider(**settings: Any) -> AsyncIterator[str]:
    sock = socket.create_server(("127.0.0.1", 0))
    origin = f"http://127.0.0.1:{sock.getsockname()[1]}"
    shutdown = anyio.Event()
    async with anyio.create_task_group() as group:

        async def run() -> None:
            await serve_fake_provider(FakeProviderSettings(**settings), sock, shutdown=shutdown)

        group.start_soon(run)
        try:
            yield origin
        finally:
            shutdown.set()


@asynccontextmanager
async def agent(start: Callable[..., Any], **settings: Any) -> AsyncIterator[tuple[Any, openai.AsyncOpenAI]]:
    """A shim before a fake provider, and an SDK client whose base URL points at it."""
    async with fake_provider(**settings) as origin, start(origin=origin) as shim:
        base_url = f"http://127.0.0.1:{shim.port}/openai/v1"
        async with openai.AsyncOpenAI(base_url=base_url, api_key="sk-none", timeout=10) as client:
            yield shim, client


async def served(shim: Any) -> int:
    answered = await shim.ask(b"GET /openai/_stats HTTP/1.1\r\nHost: shim\r\nConnection: close\r\n\r\n")
    return int(json.loads(answered.body)["served"])


async def test_an_answer(start: Callable[..., Any]) -> None:
    async with agent(start) as (shim, client):
        completion = await client.chat.completions.create(**ASK)
        assert "answer number 1" in (completion.choices[0].message.content or "")
        assert completion.usage is not None
        assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (1000, 500)
        usage = shim.session.last("settle").usage
        assert (usage.input_tokens, usage.output_tokens) == (1000, 500)
        assert [model.id async for model in client.models.list()] == ["demo-model"]
        assert shim.session.kinds == ["reserve", "settle"]


@pytest.mark.parametrize("asks", [False, True])
async def test_a_stream_shows_its_usage_only_to_who_asks(start: Callable[..., Any], *, asks: bool) -> None:
    options: Any = {"stream_options": {"include_usage": True}} if asks else {}
    async with agent(start, chunks=4) as (shim, client):
        stream = await client.chat.completions.create(**ASK, stream=True, **options)
        chunks = [chunk async for chunk in stream]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert "answer number 1" in text
        assert all(bool(chunk.choices) for chunk in chunks) is not asks
        assert (chunks[-1].usage is not None) is asks
        assert (await shim.session.until("settle")).usage.output_tokens == 500


async def test_max_tokens_and_n_count_as_they_do_at_openai(start: Callable[..., Any]) -> None:
    async with agent(start) as (shim, client):
        completion = await client.chat.completions.create(**ASK, max_tokens=7, n=2)
        assert [choice.finish_reason for choice in completion.choices] == ["length", "length"]
        reserve = shim.session.last("reserve")
        assert (reserve.output_bound_tokens, reserve.choices) == (7, 2)
        assert shim.session.last("settle").usage.output_tokens == 14


@pytest.mark.parametrize("stream", [False, True])
async def test_equal_tool_calls_have_equal_fingerprints(start: Callable[..., Any], *, stream: bool) -> None:
    async with agent(start, tool_calls=True, reply="again", chunks=3) as (shim, client):
        for _ in range(2):
            answer = await client.chat.completions.create(**ASK, stream=stream)
            if stream:
                async for _ in answer:
                    pass
            else:
                assert answer.choices[0].message.tool_calls[0].function.name == "look_up"
        await shim.session.until("settle", 2)
        prints = [operation.fingerprint for kind, operation in shim.session.operations if kind == "settle"]
        assert len(prints[0]) == 8
        assert prints[0] == prints[1]


async def test_a_compressed_answer(start: Callable[..., Any]) -> None:
    async with agent(start, gzip=True) as (shim, client):
        raw = await client.chat.completions.with_raw_response.create(**ASK)
        assert raw.headers["content-encoding"] == "gzip"
        assert raw.parse().usage is not None
        assert shim.session.last("settle").usage.output_tokens == 500


async def test_an_answer_without_usage_is_blind(start: Callable[..., Any]) -> None:
    async with agent(start, reports_usage=False) as (shim, client):
        assert (await client.chat.completions.create(**ASK)).usage is None
        assert not shim.session.last("settle").HasField("usage")


async def test_a_terminal_refusal_is_one_request_on_the_wire(start: Callable[..., Any]) -> None:
    async with agent(start) as (shim, client):
        shim.session.verdict = shim_pb2.Refused(
            reason=types_pb2.REASON_COST_BUDGET,
            unit=types_pb2.UNIT_NANODOLLARS,
            used=5_010_000_000,
            limit=5_000_000_000,
            calls=18,
        )
        with pytest.raises(openai.RateLimitError) as refused:
            await client.chat.completions.create(**ASK)
        assert "leash stopped run a3f9: cost_budget ($5.01 of $5.00 after 18 calls)" in str(refused.value)
        assert refused.value.code == "cost_budget"
        assert shim.session.kinds == ["reserve"]
        assert await served(shim) == 0


async def test_a_transient_refusal_is_asked_again(start: Callable[..., Any]) -> None:
    async with agent(start) as (shim, client):
        shim.session.verdict = shim_pb2.Refused(
            reason=types_pb2.REASON_BUDGET_HELD, transient=True, retry_after_seconds=1
        )
        with pytest.raises(openai.RateLimitError):
            await client.with_options(max_retries=1).chat.completions.create(**ASK)
        assert shim.session.kinds == ["reserve", "reserve"]


async def test_a_provider_told_to_fail_is_settled_each_time_the_sdk_asks(start: Callable[..., Any]) -> None:
    async with agent(start, status=500) as (shim, client):
        with pytest.raises(openai.InternalServerError):
            await client.with_options(max_retries=1).chat.completions.create(**ASK)
        assert shim.session.kinds == ["reserve", "settle"] * 2
        assert await served(shim) == 2


async def test_sixty_four_calls_take_about_as_long_as_one(start: Callable[..., Any]) -> None:
    async with agent(start, delay_s=0.2) as (shim, client):
        await client.chat.completions.create(**ASK)
        began = anyio.current_time()
        async with anyio.create_task_group() as group:
            for _ in range(64):
                group.start_soon(lambda: client.chat.completions.create(**ASK))
        # One call takes 0.2 s; one after the other they would take 13.
        assert anyio.current_time() - began < 3
        assert shim.session.kinds.count("settle") == 65


async def test_a_provider_that_is_ended_answers_at_once_what_it_was_asked() -> None:
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group, fake_provider(delay_s=60.0) as origin:

            async def ask() -> None:
                async with openai.AsyncOpenAI(base_url=f"{origin}/v1", api_key="sk-none") as client:
                    assert (await client.chat.completions.create(**ASK)).usage is not None

            group.start_soon(ask)
            async with aiohttp.ClientSession(origin) as stranger:
                while (await (await stranger.get("/_stats")).json())["served"] == 0:  # noqa: ASYNC110 (it tells nobody)
                    await anyio.sleep(0.02)
