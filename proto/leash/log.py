"""What leash logs where it forwards calls: lines on stderr, beside a program's own. Never a key or a body."""

from __future__ import annotations

import json
import logging
import sys
import time

# What leash itself logs under. Libraries tell of what is on the wire, below a warning, headers and all.
_OWN = ("leash", "leash_shim", "leashctl")


def configure(*, level: str, log_format: str) -> None:
    """Sends log records from this level on to stderr, as text or as JSON objects; of libraries only their warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if log_format == "json" else logging.Formatter("leash: %(levelname)s: %(message)s"))
    logging.basicConfig(level=max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]), handlers=[handler])
    for name in _OWN:
        logging.getLogger(name).setLevel(level.upper())
    # What cannot be written to a closed terminal is not worth a traceback on it.
    logging.raiseExceptions = False


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """One object on one line, with the fields that leashd's log has."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = {
            "event": record.getMessage(),
            "logger": record.name,
            "level": record.levelname.lower(),
            "timestamp": f"{at}.{int(record.msecs):03}Z",
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)
