"""Charts as SVG that stands in a page by itself: no script, no font, no image from elsewhere. Pure.

Colours are classes, which the page's style gives; each chart has a title that says in words what it shows.
"""

from __future__ import annotations

import time
from html import escape
from typing import TYPE_CHECKING

from leash.units import NANODOLLARS_PER_DOLLAR, NANOSECONDS_PER_SECOND, format_dollars

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_WIDTH, _HEIGHT = 900, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 16, 14, 34
_INNER_WIDTH = _WIDTH - _LEFT - _RIGHT
_INNER_HEIGHT = _HEIGHT - _TOP - _BOTTOM
_BASE = _TOP + _INNER_HEIGHT

# Series that have a colour of their own; the page's style has as many.
SERIES = 6

# Ticks of time: the seconds between two, and how they are written.
_TIME_STEPS = (
    *((step, "%H:%M:%S") for step in (1, 2, 5, 10, 15, 30)),
    *((step * 60, "%H:%M") for step in (1, 2, 5, 10, 15, 30)),
    *((step * 3_600, "%H:%M") for step in (1, 2, 3, 6, 12)),
    *((step * 86_400, "%d %b") for step in (1, 2, 7, 14, 30, 90, 365)),
)


def cost_line(
    points: Sequence[tuple[int, int]], *, title: str, limit: int = 0, marks: Sequence[tuple[int, str]] = ()
) -> str:
    """A total over time as a stepped line, with the limit as a dashed one, and marks where something happened.

    Points are instants in nanoseconds with nanodollars, in order.
    """
    if not points:
        return ""
    first_ns = points[0][0]
    last_ns = max(points[-1][0], first_ns + NANOSECONDS_PER_SECOND, *(at_ns for at_ns, _ in marks))
    most = max(*(amount for _, amount in points), limit, 1)
    top, money = _money_scale(most)
    x = _Scale(first_ns, last_ns, _LEFT, _LEFT + _INNER_WIDTH)
    y = _Scale(0, top, _BASE, _TOP)
    parts = [*_money_axis(money, y), *_time_axis(first_ns, last_ns, x)]
    path = f"M{x.at(first_ns)} {y.at(points[0][1])}"
    for at_ns, amount in points[1:]:
        path += f"H{x.at(at_ns)}V{y.at(amount)}"
    path += f"H{x.at(last_ns)}"
    area = f"{path}V{y.at(0)}H{x.at(first_ns)}Z"
    parts += [f'<path class="area" d="{area}"/>', f'<path class="line" d="{path}"/>']
    if len(points) == 1:
        parts.append(f'<circle class="dot" cx="{x.at(first_ns)}" cy="{y.at(points[0][1])}" r="4"/>')
    if limit:
        parts.append(
            f'<line class="limit" x1="{_LEFT}" x2="{_LEFT + _INNER_WIDTH}" y1="{y.at(limit)}" y2="{y.at(limit)}"/>'
        )
        label = f"limit {format_dollars(limit)}"
        parts.append(f'<text class="limit-label" x="{_LEFT + 6}" y="{y.at(limit) - 5:g}">{label}</text>')
    for at_ns, what in marks:
        if first_ns <= at_ns <= last_ns:
            parts.append(
                f'<g class="mark"><title>{escape(what)}</title><line x1="{x.at(at_ns)}" x2="{x.at(at_ns)}" '
                f'y1="{_TOP}" y2="{_BASE}"/></g>'
            )
    return _svg(parts, title)


def stacked_bars(  # noqa: PLR0913 - a chart and its axes
    buckets: Mapping[int, Mapping[str, int]],
    *,
    series: Sequence[str],
    first: int,
    last: int,
    bucket_ns: int,
    title: str,
) -> str:
    """Amounts over time as bars of up to ``SERIES`` series; what is of none of them is added up as the last one.

    ``buckets`` are by number, of which ``first`` to ``last`` are shown; each has nanodollars by name.
    """
    totals = {number: sum(amounts.values()) for number, amounts in buckets.items() if first <= number <= last}
    top, money = _money_scale(max(totals.values(), default=1) or 1)
    x = _Scale(first * bucket_ns, (last + 1) * bucket_ns, _LEFT, _LEFT + _INNER_WIDTH)
    y = _Scale(0, top, _BASE, _TOP)
    parts = [*_money_axis(money, y), *_time_axis(first * bucket_ns, (last + 1) * bucket_ns, x)]
    width = max(_INNER_WIDTH / (last - first + 1) - 2, 1)
    for number, total in sorted(totals.items()):
        begin = time.strftime("%Y-%m-%d %H:%M", time.localtime(number * bucket_ns // NANOSECONDS_PER_SECOND))
        parts.append(f"<g><title>{begin}: {format_dollars(total)}</title>")
        amounts, base = buckets[number], 0
        named = [(position, amounts.get(name, 0)) for position, name in enumerate(series)]
        named.append((SERIES, total - sum(amount for _, amount in named)))
        for position, amount in named:
            if amount > 0:
                upper, lower = y.at(base + amount), y.at(base)
                parts.append(
                    f'<rect class="s{position}" x="{x.at(number * bucket_ns) + 1:g}" y="{upper:g}" width="{width:.1f}" '
                    f'height="{max(lower - upper, 0.5):.1f}"/>'
                )
                base += amount
        parts.append("</g>")
    return _svg(parts, title)


def share_bar(part: int, whole: int, *, series: int = 0) -> str:
    """A bar in a cell of a table, as long as the part is of the whole. It says nothing that the cells do not."""
    width = 0.0 if whole <= 0 else min(max(part / whole, 0), 1) * 100
    return (
        '<svg class="share" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="s{min(series, SERIES)}" width="{width:.1f}" height="10"/></svg>'
    )


class _Scale:
    """From values to pixels, with one decimal, in which a page is a third as large as with all of them."""

    def __init__(self, low: int, high: int, start: float, end: float) -> None:
        self._low, self._span = low, max(high - low, 1)
        self._start, self._length = start, end - start

    def at(self, value: int) -> float:
        return round(self._start + (value - self._low) / self._span * self._length, 1)


def _money_scale(most: int) -> tuple[int, list[int]]:
    """The upper end of an axis that holds an amount, and its ticks: one, two or five of a power of ten apart."""
    step = 1
    for power in range(20):
        for digit in (1, 2, 5):
            step = digit * 10**power
            if most <= 5 * step:
                top = -(-most // step) * step
                return top, list(range(0, top + 1, step))
    return most, [0, most]


def _money_axis(ticks: Sequence[int], y: _Scale) -> list[str]:
    """Lines across, each with its amount."""
    parts = []
    for tick in ticks:
        whole = tick and tick % NANODOLLARS_PER_DOLLAR == 0
        shown = f"${tick // NANODOLLARS_PER_DOLLAR:,}" if whole else format_dollars(tick)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_LEFT + _INNER_WIDTH}" y1="{y.at(tick)}" y2="{y.at(tick)}"/>'
        )
        parts.append(f'<text x="{_LEFT - 8}" y="{y.at(tick) + 4:g}" text-anchor="end">{shown}</text>')
    return parts


def _time_axis(first_ns: int, last_ns: int, x: _Scale) -> list[str]:
    seconds = max((last_ns - first_ns) // NANOSECONDS_PER_SECOND, 1)
    step, form = next((each for each in _TIME_STEPS if seconds / each[0] <= 8), _TIME_STEPS[-1])
    offset = time.localtime(first_ns // NANOSECONDS_PER_SECOND).tm_gmtoff
    parts = []
    # Ticks stand at round hours of the local time.
    tick = -(-(first_ns // NANOSECONDS_PER_SECOND + offset) // step) * step - offset
    while tick * NANOSECONDS_PER_SECOND <= last_ns:
        position = x.at(tick * NANOSECONDS_PER_SECOND)
        shown = time.strftime(form, time.localtime(tick))
        parts.append(f'<line class="tick" x1="{position}" x2="{position}" y1="{_BASE}" y2="{_BASE + 5}"/>')
        parts.append(f'<text x="{position}" y="{_BASE + 20}" text-anchor="middle">{shown}</text>')
        tick += step
    return parts


def _svg(parts: Sequence[str], title: str) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )
