"""Where prices are found, and what is said of a file that holds none."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from leashctl import price_file
from leashctl.main import leashctl
from leashctl.price_file import PriceFile, PriceFileError, standing_file, user_file
from leashctl.price_notice import price_notice

TABLE = '{"demo-model": {"input": 10, "output": 30}}'


def invoke(*arguments: str | Path, home: Path) -> Result:
    return CliRunner().invoke(leashctl, ["prices", *map(str, arguments)], env={"XDG_CONFIG_HOME": str(home)})


def test_user_file_is_in_the_configuration_directory() -> None:
    assert user_file({"XDG_CONFIG_HOME": "/c", "HOME": "/h"}) == Path("/c/leash/prices.json")
    assert user_file({"XDG_CONFIG_HOME": "relative", "HOME": "/h"}) == Path("/h/.config/leash/prices.json")


def test_users_file_stands_before_the_hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "own")}
    hosts = tmp_path / "hosts.json"
    monkeypatch.setattr(price_file, "SYSTEM_FILE", hosts)
    assert standing_file(environ) is None
    hosts.touch()
    assert standing_file(environ) == hosts
    own = user_file(environ)
    own.parent.mkdir(parents=True)
    own.touch()
    assert standing_file(environ) == own


def test_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text(TABLE)
    read = PriceFile.read(path)
    assert (read.text.decode(), len(read.table)) == (TABLE, 1)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"m": {"inputs": 1}}', '{"m": {"input": -1}}'])
def test_bad_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prices.json"
    path.write_text(text)
    with pytest.raises(PriceFileError, match=f"^{path}: "):
        PriceFile.read(path)


def test_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(price_file, "MAX_BYTES", 10)
    path = tmp_path / "prices.json"
    path.write_text(TABLE)
    with pytest.raises(PriceFileError, match="larger"):
        PriceFile.read(path)


def test_check_counts_models(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text(TABLE)
    result = invoke("check", path, home=tmp_path)
    assert (result.exit_code, result.output.splitlines()[0]) == (0, f"{path} prices 1 model")


def test_check_of_a_bad_file_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text('{"m": {"inputs": 1}}')
    result = invoke("check", path, home=tmp_path)
    assert result.exit_code == 2
    assert "inputs" in result.output


def test_import_puts_the_file_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(TABLE)
    home = tmp_path / "configuration"
    for _ in range(2):
        result = invoke("import", path, home=home)
        assert result.exit_code == 0, result.output
    place = home / "leash" / "prices.json"
    assert place.read_text() == TABLE
    assert list(place.parent.iterdir()) == [place]


def test_import_keeps_the_table_that_it_replaces(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    home = tmp_path / "configuration"
    other = TABLE.replace("1", "2")
    assert other != TABLE
    for text in (TABLE, other, TABLE):
        path.write_text(text)
        result = invoke("import", path, home=home)
        assert result.exit_code == 0, result.output
    place = home / "leash" / "prices.json"
    assert place.read_text() == TABLE
    kept = sorted(each for each in place.parent.iterdir() if each != place)
    assert [each.read_text() for each in kept] == [TABLE, other]
    assert result.output.splitlines()[-1] == f"the table that was there is kept as {kept[-1]}"


def test_import_of_a_bad_file_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(TABLE)
    invoke("import", path, home=tmp_path)
    path.write_text("{")
    assert invoke("import", path, home=tmp_path).exit_code == 2
    assert (tmp_path / "leash" / "prices.json").read_text() == TABLE


def test_notice_says_what_the_lack_of_prices_comes_to() -> None:
    assert "the default cost budget is off" in price_notice(budgeted=False, on_blind="refuse")
    assert "will be refused, and stops the run" in price_notice(budgeted=True, on_blind="refuse")
    assert "none counts" in price_notice(budgeted=True, on_blind="allow")
    for budgeted in (True, False):
        assert "--prices FILE" in price_notice(budgeted=budgeted, on_blind="warn")
        assert "leashctl prices import FILE" in price_notice(budgeted=budgeted, on_blind="warn")
