"""What a terminal shows after the characters that it was sent: as much of a VT100 as the tests need.

Whatever it does not know is an error, so that nothing is taken for text that a terminal would obey.
"""

from __future__ import annotations

import re
import unicodedata

_CONTROL = re.compile(r"\x1b(?:\[([?>=]?)([0-9;]*)([A-Za-z@])|([78=>cM])|\((.)|\]([^\x07\x1b]*)(?:\x07|\x1b\\))")


class Screen:
    """A screen of so many rows and columns, and what has scrolled off its top."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        self.lines = [[" "] * columns for _ in range(rows)]
        self.scrolled: list[str] = []
        self.last_rows: list[str] = []  # what the last row has shown, each text once in a row
        self._row = self._column = 0
        self._saved = (0, 0)
        self._top, self._bottom = 0, rows - 1

    def text(self) -> list[str]:
        return ["".join(line).rstrip() for line in self.lines]

    def feed(self, text: str) -> None:
        position = 0
        while position < len(text):
            sign = text[position]
            if sign == "\x1b":
                found = _CONTROL.match(text, position)
                assert found is not None, text[position : position + 20]
                self._obey(found)
                position = found.end()
                continue
            self._put(sign)
            position += 1
        self._note()

    def _note(self) -> None:
        last = self.text()[-1]
        if not self.last_rows or self.last_rows[-1] != last:
            self.last_rows.append(last)

    def _put(self, sign: str) -> None:
        match sign:
            case "\n":
                self._down()
            case "\r":
                self._column = 0
            case "\b":
                self._column = max(self._column - 1, 0)
            case "\t":
                self._column = min((self._column // 8 + 1) * 8, self.columns - 1)
            case "\x07" | "\x0f" | "\x0e":
                pass
            case _:
                assert sign.isprintable() or unicodedata.category(sign) == "So", repr(sign)
                if self._column == self.columns:
                    self._column = 0
                    self._down()
                self.lines[self._row][self._column] = sign
                self._column += 1

    def _down(self) -> None:
        if self._row == self._bottom:
            gone = self.lines.pop(self._top)
            if self._top == 0:
                self.scrolled.append("".join(gone).rstrip())
            self.lines.insert(self._bottom, [" "] * self.columns)
        elif self._row < self.rows - 1:
            self._row += 1

    def _obey(self, found: re.Match[str]) -> None:
        private, numbers, command, single, _, title = found.groups()
        if title is not None or found[5]:
            return
        if single:
            if single == "7":
                self._saved = (self._row, self._column)
            elif single == "8":
                self._row, self._column = self._saved
                self._note()
            else:
                assert single in "=>", single
            return
        if private:
            assert command in "hl", found[0]
            return
        values = [int(number or 0) for number in numbers.split(";")]
        self._move(command, values)

    def _move(self, command: str, values: list[int]) -> None:
        first = max(values[0], 1)
        match command:
            case "A":
                self._row = max(self._row - first, self._top if self._row >= self._top else 0)
            case "C":
                self._column = min(self._column + first, self.columns - 1)
            case "H":
                column = values[1] if len(values) > 1 else 1
                self._row, self._column = min(first, self.rows) - 1, min(max(column, 1), self.columns) - 1
            case "K":
                assert values[0] in (0, 2), values
                start = self._column if values[0] == 0 else 0
                self.lines[self._row][start:] = [" "] * (self.columns - start)
            case "J":
                if values[0] == 2:
                    self.lines = [[" "] * self.columns for _ in range(self.rows)]
                else:
                    self.lines[self._row][self._column :] = [" "] * (self.columns - self._column)
                    for row in range(self._row + 1, self.rows):
                        self.lines[row] = [" "] * self.columns
            case "r":
                self._top = first - 1
                self._bottom = (values[1] if len(values) > 1 else self.rows) - 1
                self._row = self._column = 0
            case "m" | "h" | "l":
                pass
            case _:
                raise AssertionError(f"the screen does not know CSI {command}")
