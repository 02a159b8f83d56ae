"""The files in which a gateway's workers keep their figures, in prometheus_client's layout: one a kind and process.

The rule: a figure that has been counted stays, whatever becomes of the worker that counted it, and the files are as
many as there are workers, however often one is replaced. All is called in the supervisor, but for ``allocate``.
"""

from __future__ import annotations

import logging
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict

log = logging.getLogger(__name__)

# What a worker keeps, as the library names the files of it: what it has counted, which is added to that of workers
# that have ended before it, and what it has open, which ends with it.
_COUNTED = ("counter", "histogram")
_OPEN = ("gauge_livesum",)

# The number under which those are kept: no process has it.
_ENDED_WORKERS = 0

# Twice what all series together take; beyond it a file grows by itself.
_FILE_BYTES = 1 << 16


def allocate(directory: str, pid: int) -> None:
    """Makes the files of a process, with room for all that it is going to write. Raises OSError.

    The library makes files of holes, and maps them into memory: on a full disk the write that fills a hole would end
    the process with SIGBUS.
    """
    for kind in (*_COUNTED, *_OPEN):
        _allocate(Path(directory), kind, pid)


def clear_worker(pid: int, directory: str) -> None:
    """Adds what a worker that has ended has counted to one file for all of them, and drops what it had open.

    For whoever reads the figures to call between two readings, so that none is seen twice, or not at all.
    """
    try:
        for kind in _OPEN:
            _path(Path(directory), kind, pid).unlink(missing_ok=True)
        for kind in _COUNTED:
            _add_up(Path(directory), kind, pid)
        # Of files that it had just begun to make.
        for left in Path(directory).glob(f"*_{pid}.*"):
            left.unlink()
    except OSError as error:
        log.warning("the figures of worker %d, which has ended, stay in files of their own: %s", pid, error.strerror)


def _add_up(directory: Path, kind: str, pid: int) -> None:
    path = _path(directory, kind, pid)
    if not path.exists():
        return
    # Read before anything is written: of a file that is no good, nothing is added.
    counted = list(MmapedDict.read_all_values_from_file(str(path)))
    kept = MmapedDict(str(_allocate(directory, kind, _ENDED_WORKERS)))
    try:
        for key, value, timestamp, _ in counted:
            before, _ = kept.read_value(key)
            kept.write_value(key, before + value, timestamp)
    finally:
        kept.close()
    path.unlink()


def _allocate(directory: Path, kind: str, pid: int) -> Path:
    path = _path(directory, kind, pid)
    if not path.exists():
        # Under another name until it is whole: whoever reads meanwhile looks for the length at its beginning.
        unfinished = path.with_suffix(".new")
        unfinished.write_bytes(bytes(_FILE_BYTES))
        unfinished.rename(path)
    return path


def _path(directory: Path, kind: str, pid: int) -> Path:
    return directory / f"{kind}_{pid}.db"
