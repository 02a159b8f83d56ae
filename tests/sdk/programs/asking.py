"""What the programs of this folder have in common: they ask once for each word of their command line.

``whole`` and ``stream`` say how. For each, one line of JSON tells the answer, or what a person would see last of an
error that nobody caught.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable


def ask_as_told(whole: Callable[[], str | None], stream: Callable[[], str | None]) -> None:
    for word in sys.argv[1:]:
        try:
            told = {"answered": {"whole": whole, "stream": stream}[word]()}
        except Exception as error:  # noqa: BLE001 - whatever the client raises is what is measured
            told = {"refused": "".join(traceback.format_exception_only(error)).strip()}
        print(json.dumps(told), flush=True)
