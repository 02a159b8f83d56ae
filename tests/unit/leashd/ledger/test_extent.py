"""A file that was cut short is told from one whose last pages LMDB had no need to write."""

from __future__ import annotations

import random
import secrets
from pathlib import Path

import lmdb
import pytest

from leashd.ledger.extent import check_extent
from leashd.ledger.protocol import LedgerDamagedError

PAGE = 4096


def _made(path: Path, rng: random.Random) -> tuple[int, int]:
    """Makes a file by transactions that take pages and give some back at once; the size of its pages, and how many."""
    with lmdb.open(str(path), subdir=False, map_size=1 << 30, max_dbs=4, sync=False, lock=False) as env:
        database = env.open_db(b"a")
        for _ in range(rng.randrange(1, 40)):
            with env.begin(write=True, db=database) as txn:
                keys = [rng.randbytes(8) for _ in range(rng.randrange(1, 200))]
                for key in keys:
                    txn.put(key, rng.randbytes(rng.choice([20, 300, 5000])))
                for key in keys[: rng.choice([0, 0, len(keys) // 2, len(keys)])]:
                    txn.delete(key)
        return env.stat()["psize"], env.info()["last_pgno"] + 1


def test_a_whole_file_is_whole_even_where_its_last_pages_were_never_written(tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    rng, shorter = random.Random(seed), 0
    for number in range(100):
        path = tmp_path / f"{number}.db"
        page_bytes, pages = _made(path, rng)
        shorter += path.stat().st_size < page_bytes * pages
        check_extent(path, page_bytes=page_bytes, pages=pages)
        path.unlink()
    assert shorter, "no file was shorter than its pages"


def test_a_file_that_lacks_a_page_in_use_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "cut.db"
    with lmdb.open(str(path), subdir=False, map_size=1 << 30, sync=False, lock=False) as env:
        with env.begin(write=True) as txn:
            for number in range(2_000):
                txn.put(number.to_bytes(4, "big"), bytes(100))
        page_bytes, pages = env.stat()["psize"], env.info()["last_pgno"] + 1
    size = path.stat().st_size
    assert size == page_bytes * pages

    for lacking in (1, PAGE, size // 2, size - 2 * PAGE, size - PAGE):
        with path.open("r+b") as file:
            file.truncate(size - lacking)
        with pytest.raises(LedgerDamagedError, match="cut short"):
            check_extent(path, page_bytes=page_bytes, pages=pages)


def test_a_file_whose_free_pages_are_damaged_too_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "damaged.db"
    rng = random.Random(7)
    page_bytes, pages = _made(path, rng)
    data = bytearray(path.read_bytes()[: 40 * PAGE])
    data[2 * PAGE :] = rng.randbytes(len(data) - 2 * PAGE)
    path.write_bytes(data)

    with pytest.raises(LedgerDamagedError):
        check_extent(path, page_bytes=page_bytes, pages=pages)
