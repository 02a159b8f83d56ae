"""``leashctl prices check``: what a price table says, what it leaves unsaid, and what a call would cost by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from leashctl.failure import Failure
from leashctl.options import COUNT

if TYPE_CHECKING:
    from leash.prices import PriceTable
    from leashctl.price_quote import Quote

_Command = TypeVar("_Command", bound=Callable[..., Any])

_EXAMPLES = """\b
Examples:
  leashctl prices check prices.json
  leashctl prices check prices.json --model gpt-4o
\b
  # A call with 12,000 input tokens, 4,000 of them read from the cache, and 800 output tokens:
  leashctl prices check prices.json --model gpt-4o --input 12000 --cached-input 4000 --output 800
\b
  # The same in the batch tier; and one with two web searches, for a script:
  leashctl prices check prices.json --model gpt-4o --input 12000 --output 800 --tier batch
  leashctl prices check prices.json --model gpt-4o --input 12000 --output 800 --web-search 2 --json

\b
Exit code: 0 where the table is valid; 1 where it does not price the model; 2 where it is invalid, or for
a mistake in the command line.
"""

# Each flag that counts something of a call, the field of Usage that it sets, and what it is.
COUNTS = (
    ("--input", "input_tokens", "All input tokens, however they bill."),
    ("--output", "output_tokens", "All output tokens, however they bill."),
    ("--cached-input", "cached_input_tokens", "Those of --input that were read from a cache."),
    ("--cache-write", "cache_write_tokens", "Those of --input that were written to a cache, no lifetime reported."),
    ("--cache-write-5m", "cache_write_5m_tokens", "Those of --input that were written to a cache for five minutes."),
    ("--cache-write-1h", "cache_write_1h_tokens", "Those of --input that were written to a cache for an hour."),
    ("--audio-input", "audio_input_tokens", "Those of --input that are audio."),
    ("--audio-output", "audio_output_tokens", "Those of --output that are audio."),
    ("--image-input", "image_input_tokens", "Those of --input that are images."),
    ("--image-output", "image_output_tokens", "Those of --output that are images."),
    ("--reasoning", "reasoning_tokens", "Those of --output that were spent on reasoning."),
    ("--web-search", "web_search_requests", "Web searches that the provider ran."),
    ("--web-fetch", "web_fetch_requests", "Web pages that the provider fetched."),
)


def _count_options(command: _Command) -> _Command:
    """Adds the flags that describe a call."""
    for flag, field, text in reversed(COUNTS):
        command = click.option(flag, field, type=COUNT, help=text)(command)
    return command


@click.command("check", short_help="Validate a table; show what is missing, or what a call costs.", epilog=_EXAMPLES)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--model", metavar="NAME", help="Show this model, found as a call's would be.")
@click.option("--all", "show_all", is_flag=True, help="List every model, however many there are.")
@_count_options
@click.option("--tier", metavar="NAME", help="The service tier that the call asks for, such as batch.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(
    *, file: Path, model: str | None, show_all: bool, tier: str | None, as_json: bool, **counts: int | None
) -> None:
    """Validate a price table, and say what it leaves unsaid and what that means.

    With --model and counts of tokens, show what such a call would cost, line by line and to the nanodollar, and the
    most that a request within these bounds could. --input and --output are totals, as leash records them: the other
    counts of tokens are parts of them, and each token bills once. (Anthropic reports cached and written tokens beside
    its input, Gemini thoughts beside its output: add them up for the totals.)
    """
    from leashctl.price_file import PriceFile, PriceFileError  # noqa: PLC0415

    given = {name: count for name, count in counts.items() if count is not None}
    _check_flags(model=model, show_all=show_all, tier=tier, counts=given)
    try:
        table = PriceFile.read(file).table
    except PriceFileError as error:
        raise click.UsageError(str(error)) from error
    if model is None:
        _show_table(str(file), table, show_all=show_all, as_json=as_json)
        return
    name = table.name_of(model)
    if name is None:
        raise Failure(_no_price(str(file), table, model))
    quoted = _quote(table, name, given, tier or "") if given else None
    if as_json:
        from leashctl.price_records import model_record, quote_record  # noqa: PLC0415
        from leashctl.records import encode  # noqa: PLC0415

        record = model_record(table, asked=model, name=name)
        click.echo(encode(record | {"quote": quote_record(quoted)} if quoted else record))
        return
    from leashctl.price_page import model_lines, quote_lines  # noqa: PLC0415

    lines = (
        quote_lines(quoted, asked=model, name=name) if quoted else model_lines(str(file), table, asked=model, name=name)
    )
    click.echo("\n".join(lines))


def _check_flags(*, model: str | None, show_all: bool, tier: str | None, counts: dict[str, int]) -> None:
    """Raises ``UsageError`` for flags that mean nothing together."""
    if model is not None and show_all:
        raise click.UsageError("--model shows one model and --all every one: give one of the two")
    if model is None and (counts or tier is not None):
        raise click.UsageError("what a call costs depends on its model: name it with --model")
    if tier is not None and not counts:
        raise click.UsageError("--tier is that of a call: say how large it is, with --input and --output")


def _show_table(file: str, table: PriceTable, *, show_all: bool, as_json: bool) -> None:
    from leashctl.price_gaps import count_gaps  # noqa: PLC0415

    missing = count_gaps(table)
    if as_json:
        from leashctl.price_records import table_record  # noqa: PLC0415
        from leashctl.records import encode  # noqa: PLC0415

        click.echo(encode(table_record(file, table, missing)))
        return
    from leashctl.price_page import MOST_LISTED, headline, table_lines  # noqa: PLC0415

    each = show_all or len(table) <= MOST_LISTED
    click.echo("\n".join([headline(file, table), *table_lines(table, missing, each=each)]))


def _quote(table: PriceTable, name: str, counts: dict[str, int], tier: str) -> Quote:
    from leash.usage import Usage  # noqa: PLC0415
    from leashctl.price_quote import contradiction, quote  # noqa: PLC0415

    usage = Usage(**counts, service_tier=tier)
    wrong = contradiction(usage)
    if wrong:
        raise click.UsageError(wrong)
    price = table.get(name)
    assert price is not None, "the table has the name"
    bounds = counts.get("input_tokens"), counts.get("output_tokens")
    return quote(price, usage, input_bound_tokens=bounds[0], output_bound_tokens=bounds[1])


def _no_price(file: str, table: PriceTable, model: str) -> str:
    """Why a model has no price, and what may have been meant."""
    from leashctl.price_gaps import UNPRICED_MEANINGS, close_names  # noqa: PLC0415

    left_out = next((name for name in table.unpriced if name == model or name.endswith(f"/{model}")), None)
    if left_out is not None:
        reason = UNPRICED_MEANINGS[table.unpriced[left_out]]
        return f"{file} has {left_out!r}, but leash cannot price it: {reason}"
    close = close_names(table, model)
    hint = f": did you mean {', '.join(close)}?" if close else ", and no name like it"
    return f"{file} has no price for {model!r}{hint}"
