"""Records the terminal demo of the README, ``docs/demo.svg``, from a real run.

``python docs/record.py`` runs the commands below in a terminal of their own (a pty) with a home of their own, and draws
what came out of it. The words are the program's, letter by letter; the pace of typing, the longest and the shortest
pause, and the colours are the drawing's. ``--check`` records once more and compares the words.
"""

from __future__ import annotations

import argparse
import difflib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path
from xml.etree import ElementTree as ET

PICTURE = Path(__file__).with_name("demo.svg")

COMMANDS = ("leash demo", "leash raise {run} --max-cost 1")
"""What is typed, in order; ``{run}`` is the name of the demo's run, as the output before has told it."""

COLUMNS = 120
_LONGEST_S = 60.0  # for one command; the demo takes about a second

# The pace of the drawing, in seconds.
_KEY_S = 0.045
_BEFORE_TYPING_S = 0.8
_AFTER_TYPING_S = 0.4
_SHORTEST_GAP_S = 0.14
_LONGEST_GAP_S = 1.5
_LAST_S = 7.0

# The drawing, in pixels.
_CHARACTER = 8.4
_LINE = 20
_MARGIN = 18
_BAR = 34

_TITLE = "leash demo: ten calls under a budget of ten cents; four are answered, six are refused, and the run is stopped"

_RUN = re.compile(r"\bdemo-[0-9a-f]{8}\b")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x9b]")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the terminal, and when it was there, in seconds since its command was typed."""

    text: str
    at_s: float
    is_typed: bool = False


def record() -> list[list[Line]]:
    """The lines of each command: what was typed, then what came out."""
    with tempfile.TemporaryDirectory(prefix="leash-record-") as name, _daemon_ended(Path(name)):
        environ = _environment(Path(name))
        scenes: list[list[Line]] = []
        run = ""
        for command in COMMANDS:
            typed = command.format(run=run)
            scenes.append([Line(f"$ {typed}", 0.0, is_typed=True), *_output(typed, Path(name), environ)])
            found = _RUN.search("\n".join(line.text for line in scenes[-1]))
            run = found[0] if found else run
        return scenes


def _environment(home: Path) -> dict[str, str]:
    """An environment with nothing of the person's own, in which ``leash`` is the one beside this interpreter."""
    (home / "run").mkdir(mode=0o700)
    return {
        "HOME": str(home),
        "XDG_RUNTIME_DIR": str(home / "run"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}",
        "LANG": "C.UTF-8",
        "TERM": "xterm",
        "TZ": "UTC",
    }


@contextmanager
def _daemon_ended(home: Path) -> Iterator[None]:
    """Ends the daemon that the commands have started, before its home is removed."""
    try:
        yield
    finally:
        with suppress(FileNotFoundError, ProcessLookupError):
            pid = int((home / ".local/state/leash/leash.db.pid").read_text(encoding="ascii").split()[0])
            os.kill(pid, signal.SIGTERM)
            while _lives(pid):
                time.sleep(0.02)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _output(command: str, home: Path, environ: dict[str, str]) -> list[Line]:
    """Runs a command in a terminal; each line of its output with the time at which it was whole."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    started = time.monotonic()
    process = subprocess.Popen(  # noqa: S603 (the commands stand above)
        command.split(), stdin=theirs, stdout=theirs, stderr=theirs, cwd=home, env=environ, start_new_session=True
    )
    os.close(theirs)
    lines: list[Line] = []
    rest = b""
    try:
        while piece := _read(ours, started + _LONGEST_S):
            *whole, rest = (rest + piece).split(b"\n")
            lines += [Line(_plain(each), time.monotonic() - started) for each in whole]
    finally:
        os.close(ours)
        process.kill()  # nothing where it has ended
        process.wait()
    if rest:
        raise SystemExit(f"{command}: the last line has no end: {rest!r}")
    return lines


def _read(terminal: int, until: float) -> bytes:
    """The next piece of output; empty when nobody writes any more."""
    if not select.select([terminal], [], [], max(0.0, until - time.monotonic()))[0]:
        raise SystemExit(f"a command took longer than {_LONGEST_S:g} s")
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says EIO when the last writer has gone
        return b""


def _plain(line: bytes) -> str:
    """A line as it stands on the screen. This draws text, and is no terminal: whatever moves the cursor is an error."""
    text = line.decode("utf-8").removesuffix("\r")
    if _CONTROL.search(text) or len(text) > COLUMNS:
        raise SystemExit(f"this line cannot be drawn: {text!r}")
    return text


def draw(scenes: list[list[Line]]) -> str:
    """The recording as an SVG that plays by itself, and shows everything where nothing moves."""
    lines, total_s = _timed(scenes)
    rules: list[str] = []
    rows: list[str] = []
    for number, line in enumerate(lines):
        y = _BAR + _MARGIN + number * _LINE + _LINE * 0.7
        rows.append(_row(number, line, y))
        if not line.text:
            continue
        shown = 100 * line.at_s / total_s
        rules.append(f"@keyframes l{number}{{0%,{shown:.2f}%{{opacity:0}}{shown + 0.01:.2f}%,100%{{opacity:1}}}}")
        rules.append(f"#l{number}{{animation-name:l{number}}}")
        if line.is_typed:
            typed = len(line.text) - 2
            ends = 100 * (line.at_s + typed * _KEY_S) / total_s
            far = typed * _CHARACTER
            rules.append(
                f"@keyframes c{number}{{0%{{transform:none}}"
                f"{shown:.2f}%{{transform:none;animation-timing-function:steps({typed})}}"
                f"{ends:.2f}%,100%{{transform:translateX({far:.1f}px)}}}}"
            )
            rules.append(f"#c{number}{{display:inline;animation-name:c{number}}}")
    return _document(lines, rows, rules, total_s)


def _timed(scenes: list[list[Line]]) -> tuple[list[Line], float]:
    """All lines in one column, each with its instant in the drawing; and how long that takes."""
    lines: list[Line] = []
    now_s = 0.0
    for scene in scenes:
        if lines:
            lines.append(Line("", now_s))
        typed, *output = scene
        now_s += _BEFORE_TYPING_S
        lines.append(Line(typed.text, now_s, is_typed=True))
        now_s += len(typed.text) * _KEY_S + _AFTER_TYPING_S
        before_s = 0.0
        for line in output:
            now_s += min(max(line.at_s - before_s, _SHORTEST_GAP_S), _LONGEST_GAP_S)
            before_s = line.at_s
            lines.append(Line(line.text, now_s))
    return lines, now_s + _LAST_S


def _row(number: int, line: Line, y: float) -> str:
    if not line.text:
        return ""
    width = len(line.text) * _CHARACTER
    kind = "typed" if line.is_typed else "stop" if line.text.startswith("leash: ") else "out"
    words = re.sub(r"(?<=: )429\b", '<tspan class="no">429</tspan>', escape(line.text))
    row = (
        f'<text id="l{number}" class="line {kind}" x="{_MARGIN}" y="{y:.1f}" textLength="{width:.1f}" '
        f'xml:space="preserve">{words}</text>'
    )
    if line.is_typed:  # covers what has not been typed yet
        left = _MARGIN + 2 * _CHARACTER
        row += (
            f'<rect id="c{number}" class="cover" x="{left:.1f}" y="{y - _LINE * 0.75:.1f}" '
            f'width="{width:.1f}" height="{_LINE}"/>'
        )
    return row


def _document(lines: list[Line], rows: list[str], rules: list[str], total_s: float) -> str:
    width = round(COLUMNS * _CHARACTER + 2 * _MARGIN)
    height = _BAR + 2 * _MARGIN + len(lines) * _LINE
    dots = "".join(f'<circle cx="{22 + 18 * index}" cy="17" r="5.5" fill="#3d4450"/>' for index in range(3))
    style = "\n".join(
        (
            "text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#d6dae0}",
            ".typed{fill:#ffffff;font-weight:600}.stop{fill:#ffc66d;font-weight:600}.no{fill:#ff7b72;font-weight:600}",
            ".cover{fill:#14171c;display:none}",
            "@media (prefers-reduced-motion:no-preference){",
            f".line,.cover{{animation-duration:{total_s:.2f}s;animation-iteration-count:infinite}}",
            *rules,
            "}",
        )
    )
    body = "\n".join(filter(None, rows))
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">
<title>{_TITLE}</title>
<style>
{style}
</style>
<clipPath id="window"><rect width="{width}" height="{height}" rx="10"/></clipPath>
<g clip-path="url(#window)">
<rect width="{width}" height="{height}" fill="#14171c"/>
<rect width="{width}" height="{_BAR}" fill="#22262d"/>
{dots}
{body}
</g>
</svg>
"""


def words_of(picture: str) -> list[str]:
    """The lines of text in a drawing, without what is another one in each run."""
    root = ET.fromstring(picture)  # noqa: S314 (it is our own)
    lines = ("".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text"))
    return [_RUN.sub("demo-00000000", line) for line in lines]


def main() -> int:
    """Writes the picture, or compares the one that is there; returns the exit code."""
    parser = argparse.ArgumentParser(description="Records the demo of the README from a real run.")
    parser.add_argument("--check", action="store_true", help="compare the words with those of the picture")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    arguments = parser.parse_args()
    picture = draw(record())
    if not arguments.check:
        arguments.picture.write_text(picture, encoding="utf-8")
        return 0
    kept = words_of(arguments.picture.read_text(encoding="utf-8"))
    difference = list(difflib.unified_diff(kept, words_of(picture), "the picture", "a run of today", lineterm=""))
    if difference:
        difference.append("`python docs/record.py` records it anew")
        sys.stderr.write("\n".join(difference) + "\n")
    return 1 if difference else 0


if __name__ == "__main__":
    sys.exit(main())
