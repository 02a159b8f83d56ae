"""What is asked before a run is killed or raised: nothing happens to a run by one key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label

from leash.governance import Governance, parse_count
from leash.units import format_duration, json_dollars, parse_dollars, parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from leash.v1 import types_pb2

_CSS = """
#dialog { width: 64; max-width: 95%; height: auto; max-height: 95%; border: round $primary; padding: 0 1; }
#dialog Input { border: none; height: 1; padding: 0; background: $boost; }
#dialog .hint { margin-left: 14; }
#dialog .field { height: 1; margin-top: 1; }
#dialog .field Label { width: 14; }
#dialog Button { margin-right: 1; min-width: 10; height: 1; border: none; }
#dialog Button:focus { text-style: bold reverse; }
#buttons { height: 1; margin-top: 1; }
#trouble { text-style: bold; }
"""


class KillDialog(ModalScreen[str]):
    """Answers with ``kill``, ``now`` or nothing."""

    DEFAULT_CSS = "KillDialog { align: center middle; }" + _CSS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n,q", "dismiss('')", "Cancel"),
        Binding("y", "dismiss('kill')", "Kill"),
        Binding("w", "dismiss('now')", "Kill now"),
        Binding("left,up", "app.focus_previous", show=False),
        Binding("right,down", "app.focus_next", show=False),
    ]

    def __init__(self, run: str) -> None:
        super().__init__()
        self._run = run

    def compose(self) -> ComposeResult:
        """The question, and its three answers."""
        with Vertical(id="dialog"):
            yield Label(f"Kill run {self._run}?", markup=False)
            yield Label("y  its next call is refused, until somebody raises it", markup=False)
            yield Label("w  now: its calls in flight and its program end as well", markup=False)
            with Horizontal(id="buttons"):
                yield Button("Cancel (n)", id="cancel")
                yield Button("Kill (y)", id="kill")
                yield Button("Kill now (w)", id="now")

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Answers."""
        self.dismiss("" if event.button.id == "cancel" else event.button.id or "")


@dataclass(frozen=True, slots=True)
class RaiseAnswer:
    """The limits that a person has given, and whether a stop that no limit lifts is lifted too."""

    limits: Governance
    resume: bool


# The limits that are asked for: the flag, how it is read, and how what is in force is shown.
_FIELDS: tuple[tuple[str, Callable[[str], int], Callable[[types_pb2.Limits], str]], ...] = (
    ("max-cost", parse_dollars, lambda limits: json_dollars(limits.max_cost_nanodollars)),
    ("max-calls", parse_count, lambda limits: f"{limits.max_calls}"),
    ("deadline", parse_duration, lambda limits: format_duration(limits.deadline_ns) if limits.deadline_ns else "0"),
)


_ANSWERS = {"yes": True, "y": True, "no": False, "n": False, "": False}


class RaiseDialog(ModalScreen[RaiseAnswer | None]):
    """Asks for limits; those that are left as they are stay."""

    DEFAULT_CSS = "RaiseDialog { align: center middle; }" + _CSS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Cancel"),
        Binding("up", "app.focus_previous", show=False),
        Binding("down", "app.focus_next", show=False),
    ]

    def __init__(self, account: types_pb2.Account) -> None:
        super().__init__()
        self._account = account

    def compose(self) -> ComposeResult:
        """One field for each limit."""
        with Vertical(id="dialog"):
            yield Label(f"Raise run {self._account.run}: 0 turns a limit off", markup=False)
            for name, _, shown in _FIELDS:
                with Horizontal(classes="field"):
                    yield Label(f"--{name}")
                    yield Input(shown(self._account.limits), id=name, select_on_focus=True)
            with Horizontal(classes="field"):
                yield Label("--resume")
                yield Input("no", id="resume", select_on_focus=True)
            yield Label("yes lifts a kill, a stall or a blind stop", classes="hint")
            yield Label("", id="trouble", markup=False)
            with Horizontal(id="buttons"):
                yield Button("Cancel (Esc)", id="cancel")
                yield Button("Raise (Enter)", id="raise")

    def on_input_submitted(self) -> None:
        """Answers."""
        self._answer()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """Answers."""
        if event.button.id == "cancel":
            self.dismiss(None)
        else:
            self._answer()

    def _answer(self) -> None:
        given: dict[str, int] = {}
        for name, parse, shown in _FIELDS:
            text = self.query_one(f"#{name}", Input).value
            if text == shown(self._account.limits):
                continue
            try:
                given[name.replace("-", "_")] = parse(text)
            except ValueError as error:
                self.query_one("#trouble", Label).update(f"--{name}: {error}")
                return
        answer = self.query_one("#resume", Input).value.strip().lower()
        if answer not in _ANSWERS:
            self.query_one("#trouble", Label).update("--resume: write yes or no")
            return
        resume = _ANSWERS[answer]
        if not given and not resume:
            self.query_one("#trouble", Label).update("change a limit, or --resume; Esc leaves it as it is")
            return
        self.dismiss(RaiseAnswer(Governance(**given), resume))  # type: ignore[arg-type] # the names are of integers
