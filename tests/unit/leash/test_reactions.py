from __future__ import annotations

import pytest

from leash.reactions import Reactions, check_secret, check_webhook, parse_command


@pytest.mark.parametrize("url", ["", "https://hooks.example.com/T0/B0?a=b", "http://[::1]:8080/x"])
def test_what_is_a_webhook(url: str) -> None:
    assert check_webhook(url) == url


@pytest.mark.parametrize(
    "url",
    ["example.com", "ftp://host/", "https://", "https://u:p@host/", "https://host:99999/", "https://host/ä",
     "https://host/a b", "https://host/" + "x" * 2_000, "https://host/\n"],
)  # fmt: skip
def test_what_is_none(url: str) -> None:
    with pytest.raises(ValueError, match=r"webhook|Port|port"):
        check_webhook(url)


def test_a_command_is_split_as_a_shell_would_and_nothing_of_it_is_run() -> None:
    assert parse_command("notify 'a b' $HOME `x` ;rm") == ("notify", "a b", "$HOME", "`x`", ";rm")
    assert parse_command("") == ()
    for wrong in ("echo 'half", "'' x", "x" * 5_000):
        with pytest.raises(ValueError, match="command"):
            parse_command(wrong)


def test_a_key_is_what_the_specification_has() -> None:
    assert check_secret(" whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n") == "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    for wrong in ("", "whsec_", "short", "whsec_" + "A" * 200, "ä"):
        with pytest.raises(ValueError, match="a key is"):
            check_secret(wrong)


def test_what_is_not_given_is_absent_and_what_is_empty_is_there() -> None:
    assert Reactions().to_wire() is None
    message = Reactions(webhook="", hook=()).to_wire()
    assert message is not None
    assert message.HasField("webhook")
    assert message.HasField("hook")
    assert not Reactions(hook=("/x",)).to_wire().HasField("webhook")  # type: ignore[union-attr]
