"""What a gateway's workers count, in prometheus_client's form for several processes.

The rule: no label grows with runs, tenants, models or paths, and whatever comes from outside falls into one of the
values that are written here. Import this once ``PROMETHEUS_MULTIPROC_DIR`` is set: the library chooses then how it
keeps its values.
"""

from __future__ import annotations

import os
from http import HTTPStatus
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from leash.live.text import reason_name
from leash.units import NANODOLLARS_PER_DOLLAR
from leash.v1 import shim_pb2, types_pb2
from leash_shim.gateway.config import METRICS_DIRECTORY
from leash_shim.gateway.metric_files import allocate
from leash_shim.observer import DECISIONS, Exchange, Observer

if TYPE_CHECKING:
    from leash.client.session import ShimSession
    from leash.usage import Usage

# The wire formats' vendors, and what stands for a request that came to none.
NO_PROVIDER = "none"
PROVIDERS = ("openai", "anthropic", "gemini", "ollama", NO_PROVIDER)

# What a value that is not written here is counted under.
OTHER = "other"

_REASON_NAMES = {number: reason_name(number) for number in types_pb2.Reason.values() if number}
REASONS = (*_REASON_NAMES.values(), OTHER)

# What a provider reports of a call, with the name of its field in a usage.
TOKEN_KINDS = {
    "input": "input_tokens",
    "output": "output_tokens",
    "cached_input": "cached_input_tokens",
    "cache_write": "cache_write_tokens",
    "cache_write_5m": "cache_write_5m_tokens",
    "cache_write_1h": "cache_write_1h_tokens",
    "audio_input": "audio_input_tokens",
    "audio_output": "audio_output_tokens",
    "image_input": "image_input_tokens",
    "image_output": "image_output_tokens",
    "reasoning": "reasoning_tokens",
}
_TOOL_FIELDS = ("web_search_requests", "web_fetch_requests", "other_tool_requests")

# How a provider fails: the request's own fault, too many of them, the provider's fault, or no whole answer.
ERROR_KINDS = ("request", "rate_limited", "server", "cut")

# The registered statuses, and those that proxies before a provider and providers themselves have made up (529 is
# Anthropic's for an overload). Series do not go away again, so that a status of nobody's gets none of its own.
_STATUSES = frozenset(status.value for status in HTTPStatus) | {420, 498, 499, *range(520, 528), 529, 530, 598, 599}

# What leash answers by itself, and every provider.
_USUAL_STATUSES = (200, 400, 401, 402, 413, 429, 502, 503, 504)

# Models answer within a second to some minutes; six hundred seconds is where official SDKs give up. The first two tell
# what leash answers by itself.
_REQUEST_SECONDS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
# One durable round trip to the daemon takes half a millisecond to ten, finely told since every call waits for it. Those
# beyond a second waited for room in their budget (at most 30 s, unless --hold-wait is longer) or for a daemon (5 s).
_RESERVE_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0)
# Nobody waits for a settle: it rides with another commit for some milliseconds, or waits out a daemon that is started
# again within a second or so.
_SETTLE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class GatewayMetrics(Observer):
    """Counts what one worker does.

    Every series that is known beforehand is there from the start: an increase cannot be told of one that begins with
    its first event. Raises ValueError with a sentence where there is no room for them.
    """

    def __init__(self) -> None:
        if METRICS_DIRECTORY in os.environ:
            _allocate(os.environ[METRICS_DIRECTORY])
        # Of its own: nothing reads it but the tests, since a scrape reads the files of all workers.
        self.registry = CollectorRegistry()
        self._make_decisions()
        self._make_consumption()
        self._make_durations()
        self._held_nanodollars = 0
        self._holds: dict[bytes, int] = {}

    def _make_decisions(self) -> None:
        calls = self._counter(
            "leash_calls_total", "Requests that are over, by what leash did with them.", "decision", "provider"
        )
        self._calls = {
            (decision, provider): calls.labels(decision, provider) for decision in DECISIONS for provider in PROVIDERS
        }
        refusals = self._counter("leash_refusals_total", "Calls that a boundary refused.", "reason")
        self._refusals = {reason: refusals.labels(reason) for reason in REASONS}
        stops = self._counter("leash_stops_total", "Runs that were stopped while this gateway had them open.", "reason")
        self._stops = {reason: stops.labels(reason) for reason in REASONS}
        warnings = self._counter(
            "leash_budget_warnings_total",
            "Warning lines that runs crossed, and blind calls that were let through.",
            "reason",
        )
        self._warnings = {reason: warnings.labels(reason) for reason in REASONS}
        errors = self._counter(
            "leash_upstream_errors_total",
            "Calls that a provider answered with an error status, or with no whole answer.",
            "provider",
            "kind",
        )
        self._upstream_errors = {
            (provider, kind): errors.labels(provider, kind) for provider in PROVIDERS for kind in ERROR_KINDS
        }
        self._ledger_errors = self._counter(
            "leash_ledger_errors_total", "Calls that leashd did not record, and that were therefore not forwarded."
        )
        self._responses = self._counter("leash_responses_total", "Answers to agents, by HTTP status.", "code")
        self._by_status = {status: self._responses.labels(str(status)) for status in _USUAL_STATUSES}

    def _make_consumption(self) -> None:
        tokens = self._counter(
            "leash_tokens_total",
            "Tokens that providers reported. Kinds of input are within input, kinds of output within output.",
            "kind",
        )
        self._tokens = tuple((tokens.labels(kind), field) for kind, field in TOKEN_KINDS.items())
        self._token_cost = self._counter(
            "leash_token_cost_usd_total", "US dollars that settled calls cost: tokens and server-side tools."
        )
        self._held_cost = Gauge(
            "leash_held_cost_usd",
            "US dollars that the open calls of this gateway may still cost.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._blind_calls = self._counter(
            "leash_blind_calls_total", "Settled calls of which the usage could not be read, or not be priced."
        )
        self._tool_requests = self._counter(
            "leash_server_tool_requests_total", "Requests of server-side tools that providers reported."
        )

    def _make_durations(self) -> None:
        self._in_flight = Gauge(
            "leash_requests_in_flight", "Requests under way.", registry=self.registry, multiprocess_mode="livesum"
        )
        self._request_seconds = Histogram(
            "leash_request_duration_seconds",
            "From a request's head to the last byte of its answer.",
            registry=self.registry,
            buckets=_REQUEST_SECONDS,
        )
        self._reserve_seconds = Histogram(
            "leash_reserve_duration_seconds",
            "From asking leashd for a call to its verdict, with the wait for room in a budget.",
            registry=self.registry,
            buckets=_RESERVE_SECONDS,
        )
        self._settle_seconds = Histogram(
            "leash_settle_duration_seconds",
            "From the end of a call's answer to leashd's confirmation that it is settled.",
            registry=self.registry,
            buckets=_SETTLE_SECONDS,
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def watch_session(self, session: ShimSession) -> None:
        """Counts what the daemon confirms of the calls of a session."""
        session.on_closed = self.closed

    def pushed(self, push: shim_pb2.Push) -> None:
        """Counts a stop or a warning, which the daemon tells every worker and lets one count."""
        if push.run_stopped.counts:
            self._stops[_REASON_NAMES.get(push.run_stopped.reason, OTHER)].inc()
        elif push.run_warned.counts:
            reason = push.run_warned.reason
            self._warnings[reason if reason in self._warnings else OTHER].inc()

    def began(self, exchange: Exchange) -> None:
        """One more request is under way."""
        del exchange
        self._in_flight.inc()

    def ended(self, exchange: Exchange) -> None:
        """One less, and what it came to. One that was cut before anything was decided is leash's own failure."""
        self._in_flight.dec()
        decision = exchange.decision if exchange.decision in DECISIONS else "failed"
        self._calls[decision, _provider(exchange)].inc()
        self._request_seconds.observe(exchange.seconds)
        if exchange.reason == "leash_unavailable":
            self._ledger_errors.inc()
        if exchange.status:
            self._answered(exchange.status)

    def reserved(
        self, exchange: Exchange, verdict: shim_pb2.Admitted | shim_pb2.Refused | None, seconds: float
    ) -> None:
        """The daemon has decided a call, or could not be asked: what that comes to is counted at the end."""
        self._reserve_seconds.observe(seconds)
        if isinstance(verdict, shim_pb2.Refused):
            self._refusals[_REASON_NAMES.get(verdict.reason, OTHER)].inc()
        elif verdict is not None and verdict.held_nanodollars:
            self._holds[exchange.request_id] = verdict.held_nanodollars
            self._change_held(verdict.held_nanodollars)

    def settled(self, exchange: Exchange, usage: Usage | None) -> None:
        """A call's answer came whole."""
        del exchange
        if usage is None:
            return
        for counter, field in self._tokens:
            if count := getattr(usage, field):
                counter.inc(count)
        if tools := sum(getattr(usage, field) for field in _TOOL_FIELDS):
            self._tool_requests.inc(tools)

    def upstream_failed(self, exchange: Exchange, status: int) -> None:
        """A provider answered an error, or gave no whole answer."""
        self._upstream_errors[_provider(exchange), _error_kind(status)].inc()

    def closed(self, call_id: bytes, closed: shim_pb2.Closed, kind: str, seconds: float) -> None:
        """The daemon has confirmed the end of a call, or knows of none: either is said once of each."""
        self._change_held(-self._holds.pop(call_id, 0))
        if kind != "settle" or closed.outcome != "settled":
            return
        self._settle_seconds.observe(seconds)
        self._token_cost.inc(closed.cost_nanodollars / NANODOLLARS_PER_DOLLAR)
        if closed.blind:
            self._blind_calls.inc()

    def _change_held(self, change_nanodollars: int) -> None:
        if change_nanodollars:
            # Whole numbers are added, and their sum is set: a sum of fractions would drift away from zero.
            self._held_nanodollars += change_nanodollars
            self._held_cost.set(self._held_nanodollars / NANODOLLARS_PER_DOLLAR)

    def _answered(self, status: int) -> None:
        counter = self._by_status.get(status)
        if counter is None:
            label = str(status) if status in _STATUSES else OTHER
            counter = self._by_status[status] = self._responses.labels(label)
        counter.inc()


def _allocate(directory: str) -> None:
    try:
        allocate(directory, os.getpid())
    except OSError as error:
        raise ValueError(f"there is no room for metrics in {directory}: {error.strerror} (set TMPDIR)") from error


def _provider(exchange: Exchange) -> str:
    return exchange.provider if exchange.provider in PROVIDERS else NO_PROVIDER


def _error_kind(status: int) -> str:
    """Which of ``ERROR_KINDS`` a status is; 0 is no whole answer."""
    if not status:
        return "cut"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limited"
    return "server" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "request"
