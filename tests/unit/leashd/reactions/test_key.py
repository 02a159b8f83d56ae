from __future__ import annotations

import os
from pathlib import Path

import pytest

from leashd.reactions.key import KeyTroubleError, own_key, own_key_path, read_key


def test_a_key_is_made_once_for_its_user_alone(tmp_path: Path) -> None:
    ledger = tmp_path / "leash.db"
    key = own_key(ledger)

    assert key.startswith("whsec_")
    assert own_key(ledger) == key
    assert own_key_path(ledger).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["leash.db.webhook-secret"]


def test_a_key_that_cannot_be_had_is_named_and_never_shown(tmp_path: Path) -> None:
    with pytest.raises(KeyTroubleError, match="cannot be read"):
        read_key(tmp_path / "nowhere")
    short = tmp_path / "short"
    short.write_text("whsec_c2VjcmV0")
    with pytest.raises(KeyTroubleError) as trouble:
        read_key(short)
    assert "c2VjcmV0" not in str(trouble.value)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(KeyTroubleError, match="has no key"):
        read_key(pipe)  # and it does not wait for a writer


def test_a_key_that_the_signing_library_cannot_read_is_none(tmp_path: Path) -> None:
    unpadded = tmp_path / "unpadded"
    unpadded.write_text(own_key(tmp_path / "leash.db").rstrip("="))
    with pytest.raises(KeyTroubleError, match="has no key"):
        read_key(unpadded)
