"""The report as one document: nothing in it asks for anything else, and a text of a run is never markup. Pure."""

from __future__ import annotations

import time
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from leash.live.text import printable, status_name
from leash.units import NANOSECONDS_PER_SECOND, format_dollars, format_duration
from leash.v1 import types_pb2
from leashctl.render import figure_text, limit_lines
from leashctl.reporting.charts import SERIES, cost_line, share_bar, stacked_bars
from leashctl.reporting.figures import OTHERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from leashctl.reporting.figures import CallFigures, Figures, Sums

# Rows of the table of runs; the rest is added up in its last one.
_MOST_RUNS = 50
_MOST_MODELS = 30


def run_page(account: types_pb2.Account, figures: Figures, *, owner: str, ledger: str, made_at_ns: int) -> str:
    """The report of one run."""
    total = account.total_cost_nanodollars
    budget = account.limits.max_cost_nanodollars
    status = status_name(account) + (f" ({account.reason})" if account.reason else "")
    of = f"of {format_dollars(budget)}: {total * 100 // budget}%" if budget else "no cost budget"
    unresolved = f"{account.unresolved_calls} unresolved" if account.unresolved_calls else ""
    errors = f"{account.error_calls} answered with an error" if account.error_calls else ""
    facts = [
        ("Status", status, ""),
        ("Cost", format_dollars(total), of),
        ("Tokens and tools", format_dollars(account.token_cost_nanodollars), _tools(account)),
        ("Compute", format_dollars(account.compute_cost_nanodollars), ""),
        ("Calls", f"{account.calls:,}", ", ".join(filter(None, (errors, unresolved)))),
        ("Input tokens", f"{account.input_tokens:,}", f"{account.cached_input_tokens:,} cached"),
        ("Output tokens", f"{account.output_tokens:,}", f"{account.reasoning_tokens:,} reasoning"),
        ("Time", _span(account), "from its first call to its last"),
    ]
    marks = [
        (event.entry.at_unix_ns, _mark(event.entry))
        for event in figures.events
        if event.entry.kind in {"stopped", "warned", "raised", "would_stop"}
    ]
    spent = format_dollars(figures.total.cost_nanodollars)
    chart = cost_line(
        figures.points, title=f"Cost of tokens and tools over time, {spent} in all", limit=budget, marks=marks
    )
    limits = ", ".join(" ".join(each.split()) for each in limit_lines(account.limits)) or "none"
    return _document(
        f"Run {account.run}",
        f"owner {owner}, ledger {ledger}; limits: {limits}",
        figures,
        made_at_ns,
        [
            _facts(facts),
            _section("Cost over time", chart or "<p>No call was settled.</p>", _MARKS_HINT if marks else ""),
            *_common(figures, one_run=True),
        ],
    )


def host_page(
    figures: Figures,
    accounts: Mapping[str, types_pb2.Account],
    *,
    since: str,
    made_at_ns: int,
    owners: Mapping[str, str],
) -> str:
    """The report of all runs since a time; ``accounts`` and ``owners`` are by the names that the figures have."""
    first = figures.since_ns // figures.bucket_ns
    last = max(made_at_ns // figures.bucket_ns, first)
    by_cost = sorted(figures.by_run.items(), key=lambda each: -each[1].cost_nanodollars)
    series = [name for name, sums in by_cost[:SERIES] if sums.cost_nanodollars]
    total = format_dollars(figures.total.cost_nanodollars)
    chart = stacked_bars(
        figures.buckets,
        series=series,
        first=first,
        last=last,
        bucket_ns=figures.bucket_ns,
        title=f"Cost of each {format_duration(figures.bucket_ns)}, {total} in all",
    )
    stopped = sum(
        account.status in (types_pb2.STATUS_STOPPED, types_pb2.STATUS_KILLED) for account in accounts.values()
    )
    running = sum(account.status == types_pb2.STATUS_RUNNING for account in accounts.values())
    facts = [
        ("Cost of tokens and tools", total, f"in {since}"),
        ("Runs", f"{len(figures.by_run):,}", f"{running} running, {stopped} stopped or killed"),
        ("Calls", f"{figures.total.calls:,}", f"{figures.total.errors:,} answered with an error"),
        ("Input tokens", f"{figures.total.input_tokens:,}", ""),
        ("Output tokens", f"{figures.total.output_tokens:,}", ""),
    ]
    legend = _legend([*series, *([OTHERS] if len(by_cost) > len(series) else [])])
    rows = []
    dearest = by_cost[0][1].cost_nanodollars if by_cost else 0
    for name, sums in by_cost[:_MOST_RUNS]:
        account = accounts.get(name)
        status = "-" if account is None else status_name(account) + (f" ({account.reason})" if account.reason else "")
        position = series.index(name) if name in series else SERIES
        bar = share_bar(sums.cost_nanodollars, dearest, series=position)
        rows.append([_text(name), _text(status), _text(owners.get(name, "-")), *_sums(sums), bar])
    left = by_cost[_MOST_RUNS:]
    rest = f"{len(left)} more runs cost {format_dollars(sum(s.cost_nanodollars for _, s in left))}." if left else ""
    titles = ("run", "status", "owner", "calls", "input", "output", "cost", "")
    return _document(
        f"All runs, {since}",
        "of every daemon that could be asked",
        figures,
        made_at_ns,
        [
            _facts(facts),
            _section(f"Cost of each {format_duration(figures.bucket_ns)}", chart + legend),
            _section("By run", _table(titles, rows, left=3), rest),
            *_common(figures, one_run=False),
        ],
    )


_MARKS_HINT = "Dotted lines mark warnings, stops and raises; the table of events has them."


def _common(figures: Figures, *, one_run: bool) -> list[str]:
    """The sections that both kinds of report have."""
    models = sorted(figures.by_model.items(), key=lambda each: -each[1].cost_nanodollars)[:_MOST_MODELS]
    whole = figures.total.cost_nanodollars
    model_rows = [[_text(name), *_sums(sums), share_bar(sums.cost_nanodollars, whole)] for name, sums in models]
    tokens = sorted(figures.tokens.items(), key=lambda each: -each[1])
    all_tokens = sum(figures.tokens.values())
    token_rows = [
        [_text(kind), f"{count:,}", f"{count * 100 / all_tokens:.1f}%", share_bar(count, all_tokens, series=2)]
        for kind, count in tokens
    ]
    sections = [
        _section("By model", _table(("model", "calls", "input", "output", "cost", ""), model_rows, left=1)),
        _section("By kind of token", _table(("kind", "tokens", "share", ""), token_rows, left=1)),
        _section("Dearest calls", _calls(figures.dearest(), one_run=one_run)),
        _section(
            "Slowest calls",
            _calls(figures.slowest(), one_run=one_run),
            "From the moment a call was admitted to the end of its answer.",
        ),
    ]
    if figures.events:
        more = f"{figures.events_left_out} more are in the journal." if figures.events_left_out else ""
        sections.append(_section("Events", _events(figures, one_run=one_run), more))
    return sections


def _events(figures: Figures, *, one_run: bool) -> str:
    rows = []
    for event in figures.events:
        entry = event.entry
        used = (
            f"{figure_text(entry.used, entry.unit)} of {figure_text(entry.limit, entry.unit)}" if entry.limit else "-"
        )
        row = [_text(_instant(entry.at_unix_ns)), _text(entry.kind), _text(entry.reason or "-"), _text(used)]
        rows.append(row if one_run else [_text(event.run), *row])
    titles = ("at", "event", "reason", "figures")
    return _table(titles if one_run else ("run", *titles), rows, left=9)


def _calls(calls: Sequence[CallFigures], *, one_run: bool) -> str:
    rows = []
    for call in calls:
        took = format_duration(call.duration_ns) if call.duration_ns else "-"
        row = [
            _text(_instant(call.at_ns)),
            _text(call.model or "-"),
            f"{call.input_tokens:,}",
            f"{call.output_tokens:,}",
            took,
            format_dollars(call.cost_nanodollars),
            f"{call.http_status or '-'}",
        ]
        rows.append(row if one_run else [_text(call.run), *row])
    titles = ("at", "model", "input", "output", "took", "cost", "status")
    return _table(titles if one_run else ("run", *titles), rows, left=2 if one_run else 3)


def _sums(sums: Sums) -> list[str]:
    return [
        f"{sums.calls:,}",
        f"{sums.input_tokens:,}",
        f"{sums.output_tokens:,}",
        format_dollars(sums.cost_nanodollars),
    ]


def _mark(entry: types_pb2.Entry) -> str:
    return printable(f"{_clock(entry.at_unix_ns)} {entry.kind} {entry.reason}".strip())


def _tools(account: types_pb2.Account) -> str:
    tools = account.tool_cost_nanodollars
    return f"tools {format_dollars(tools)}" if tools else ""


def _span(account: types_pb2.Account) -> str:
    if not account.last_call_at_unix_ns:
        return "-"
    return format_duration(max(account.last_call_at_unix_ns - account.started_at_unix_ns, 0))


def _document(title: str, subtitle: str, figures: Figures, made_at_ns: int, sections: Iterable[str]) -> str:
    notes = []
    if figures.pruned_runs:
        notes.append("Older entries were pruned: of those only the totals are known.")
    zone = time.strftime("%Z (UTC%z)", time.localtime(made_at_ns // NANOSECONDS_PER_SECOND))
    notes.append(f"Made {_instant(made_at_ns)}; times are in {zone}. Costs of unresolved calls are not in it.")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>leash: {_text(title)}</title>\n<style>\n{_style()}</style>\n</head>\n<body>\n"
        f'<header>\n<h1>{_text(title)}</h1>\n<p class="soft">{_text(subtitle)}</p>\n</header>\n<main>\n'
        + "\n".join(sections)
        + f'\n</main>\n<footer><p class="soft">{_text(" ".join(notes))}</p></footer>\n</body>\n</html>\n'
    )


@cache
def _style() -> str:
    return (Path(__file__).parent / "report.css").read_text(encoding="utf-8")


def _facts(facts: Iterable[tuple[str, str, str]]) -> str:
    shown = "".join(
        f"<div><dt>{_text(name)}</dt><dd>{_text(value)}{f'<small>{_text(more)}</small>' if more else ''}</dd></div>"
        for name, value, more in facts
    )
    return f"<dl>{shown}</dl>"


def _section(title: str, inside: str, hint: str = "") -> str:
    told = f'<p class="soft">{_text(hint)}</p>' if hint else ""
    return f"<section>\n<h2>{_text(title)}</h2>\n{inside}\n{told}</section>"


def _legend(names: Sequence[str]) -> str:
    items = "".join(
        f'<li><svg viewBox="0 0 1 1" aria-hidden="true"><rect class="s{SERIES if name == OTHERS else number}" '
        f'width="1" height="1"/></svg> {_text(name)}</li>'
        for number, name in enumerate(names)
    )
    return f'<ul class="legend">{items}</ul>'


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> str:
    """A table of cells that are markup already; the first ``left`` columns are texts."""
    if not rows:
        return "<p>None.</p>"
    heads = "".join(f'<th scope="col"{_class(number, left)}>{_text(title)}</th>' for number, title in enumerate(titles))
    lines = (
        "<tr>" + "".join(f"<td{_class(number, left)}>{cell}</td>" for number, cell in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _class(number: int, left: int) -> str:
    if number >= left:
        return ""
    return ' class="l"' if number else ' class="l name"'


def _text(text: str) -> str:
    return escape(printable(text))


def _instant(unix_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_ns // NANOSECONDS_PER_SECOND))


def _clock(unix_ns: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(unix_ns // NANOSECONDS_PER_SECOND))
