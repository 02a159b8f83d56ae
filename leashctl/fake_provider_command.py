"""``leashctl fake-provider``: a provider that costs nothing, to try things against."""

from __future__ import annotations

import socket

import click

from leash.units import NANOSECONDS_PER_SECOND
from leash_shim.gateway.listeners import address_of
from leashctl.failure import Failure
from leashctl.options import DURATION, Parsed

# More connections than any trial opens at once; Linux caps it at its own bound.
_BACKLOG = 2048

_EXAMPLES = """\b
Examples:
  leashctl fake-provider
  leash --upstream http://127.0.0.1:9099 --max-calls 3 -- python agent.py
  leashctl fake-provider --delay 2s --chunks 50 --chunk-delay 100ms
  leashctl fake-provider --status 503

\b
Exit code: 0 when it was told to end; 1 where the address is in use; 2 for a mistake in the command
line.
"""


def _parse_address(text: str) -> tuple[str, int]:
    """Host and port. Raises ``ValueError``."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text!r} is no address: write it as 127.0.0.1:9099")
    return host.strip("[]") or "127.0.0.1", int(port)


@click.command("fake-provider", short_help="Serve made-up answers, to try things.", epilog=_EXAMPLES)
@click.option(
    "--listen",
    type=Parsed("host:port", _parse_address),
    default="127.0.0.1:9099",
    show_default=True,
    help="Where it listens; port 0 takes a free one.",
)
@click.option("--model", default="demo-model", show_default=True, help="The model that it names.")
@click.option(
    "--prompt-tokens", type=click.IntRange(min=0), default=1000, show_default=True, help="Input tokens of each answer."
)
@click.option(
    "--completion-tokens",
    type=click.IntRange(min=0),
    default=500,
    show_default=True,
    help="Output tokens of each answer.",
)
@click.option("--delay", type=DURATION, default="0", show_default=True, help="Before each answer.")
@click.option("--chunks", type=click.IntRange(min=1), default=10, show_default=True, help="Pieces of a stream.")
@click.option("--chunk-delay", type=DURATION, default="0", show_default=True, help="Before each piece.")
@click.option("--status", type=click.IntRange(200, 599), default=200, show_default=True, help="Status of every answer.")
@click.option("--no-usage", is_flag=True, help="Report no usage.")
@click.option("--tool-calls", is_flag=True, help="Answer with a call of a function.")
@click.option("--reply", default="", help="The text of every answer; by default each has its own.")
@click.option("--gzip", is_flag=True, help="Compress answers for whoever accepts it.")
def fake_provider(  # noqa: PLR0913 (one for each option)
    *,
    listen: tuple[str, int],
    model: str,
    prompt_tokens: int,
    completion_tokens: int,
    delay: int,
    chunks: int,
    chunk_delay: int,
    status: int,
    no_usage: bool,
    tool_calls: bool,
    reply: str,
    gzip: bool,
) -> None:
    """Serve made-up answers until it is interrupted, whole and streamed, as official SDKs expect them.

    \b
    OpenAI     chat completions, completions, responses, embeddings
    Anthropic  messages
    Gemini     generateContent, streamGenerateContent, embedContent, batchEmbedContents
    Ollama     chat, generate, embed
    """  # noqa: D301 (the escape is click's mark for lines that stay as they are)
    from leashctl.fake_provider import FakeProviderSettings, serve_fake_provider  # noqa: PLC0415

    settings = FakeProviderSettings(
        model=model,
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        delay_s=delay / NANOSECONDS_PER_SECOND,
        chunks=chunks,
        chunk_delay_s=chunk_delay / NANOSECONDS_PER_SECOND,
        status=status,
        reports_usage=not no_usage,
        tool_calls=tool_calls,
        reply=reply,
        gzip=gzip,
    )
    listener = _listen(*listen)
    click.echo(f"fake provider: OPENAI_BASE_URL=http://{address_of(listener)}/v1 (Ctrl-C ends it)", err=True)

    import signal  # noqa: PLC0415

    import anyio  # noqa: PLC0415

    async def serve() -> None:
        shutdown = anyio.Event()

        async def await_signal() -> None:
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                async for _ in signals:
                    shutdown.set()
                    return

        async with anyio.create_task_group() as group:
            group.start_soon(await_signal)
            await serve_fake_provider(settings, listener, shutdown=shutdown)
            group.cancel_scope.cancel()

    anyio.run(serve, backend_options={"use_uvloop": True})


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise Failure(f"{host}:{port} cannot be listened on: {error.strerror}") from error
    return listener
