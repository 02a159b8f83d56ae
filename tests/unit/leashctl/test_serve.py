"""What ``serve`` makes of its command line, its environment and its files. Nothing is started."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click.testing
import pytest
import trustme

from leash_shim.gateway.config import GatewayConfig
from leash_shim.gateway.listeners import Address, listen
from leash_shim.gateway.tokens import matches
from leashctl.main import leash, leashctl
from leashctl.serve import _announcement

TOKEN, OTHER = "token-Aech7ohTqu1shie3", "token-Ieng1Oovaefoo8ah"
UPSTREAM = ("--upstream", "http://127.0.0.1:9099")


@dataclass
class Settled:
    """What a command line came to."""

    result: click.testing.Result
    config: GatewayConfig | None = None
    reread: Callable[[], GatewayConfig] | None = None
    flags: dict[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> GatewayConfig:
        assert self.config is not None, self.result.output
        return self.config


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settled]:
    """Runs the command up to where the gateway would be started."""
    for name in [name for name in os.environ if name.startswith(("LEASH_", "OPENAI_", "ANTHROPIC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))

    def run(*arguments: str, program: click.Group = leashctl, **environ: str) -> Settled:
        settled = Settled(click.testing.Result.__new__(click.testing.Result))

        def keep(flags: dict[str, Any], config: GatewayConfig, reread: Callable[[], GatewayConfig]) -> None:
            settled.flags, settled.config, settled.reread = flags, config, reread

        monkeypatch.setattr("leashctl.serve._run", keep)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        settled.result = click.testing.CliRunner().invoke(program, ["serve", *arguments])
        return settled

    return run


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Writes the file of tokens; returns its path."""
    path = tmp_path / "tokens"

    def write(text: str) -> str:
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    yield write
    path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "make one with `leashctl gen-token`"),
        (("--insecure", "--auth-token", TOKEN), "--insecure lets anybody in, and there is a token"),
        (("--insecure", "--tls-cert", "cert.pem"), "--tls-key is missing"),
        (("--insecure", "--tls-key", "key.pem"), "--tls-cert is missing"),
        (("--insecure", "--tls-cert", "none.pem", "--tls-key", "none.key"), "none.pem and none.key cannot be read"),
        (("--auth-token", "short"), "a token has 8 to 512 visible ASCII characters"),
        (("--auth-token-file", "none"), "none cannot be read: No such file or directory"),
        (("--auth-token-file", "."), "is a directory"),
        (("--insecure", "--listen", "8088"), "'8088' is no address: write it as 127.0.0.1:8088"),
        (("--insecure", "--admin", "::1:80"), "write an IPv6 one as [::1]:8088"),
        (("--insecure", "--workers", "0"), "must be above zero"),
        (("--insecure", "--upstream", "ftp://host"), "--upstream"),
        (("--insecure", *UPSTREAM, "--upstream", "http://127.0.0.1:9100"), "one base URL is for all providers"),
        (("--insecure", "--upstream", "run=http://127.0.0.1:9099"), "--upstream run=…: "),
        (("--insecure", "--access-log", "xml"), "--access-log"),
        (("--insecure", "--run", "a/b"), "has a slash"),
        (("--run", "nightly", "--auth-token-file", "tokens"), "--run is for one agent"),
    ],
)
def test_mistakes_are_usage_errors_that_say_what_to_do(
    serve: Callable[..., Settled],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    settled = serve(*arguments)
    assert settled.config is None
    assert settled.result.exit_code == 2, settled.result.output
    assert said in " ".join(settled.result.output.split())


def test_a_token_in_the_environment_is_taken_out_of_it(serve: Callable[..., Settled]) -> None:
    settled = serve(LEASH_AUTH_TOKEN=TOKEN)
    assert "warning: --auth-token" not in settled.result.output
    assert "LEASH_AUTH_TOKEN" not in os.environ
    assert settled.settings.tokens is not None
    assert matches(settled.settings.tokens, TOKEN)
    assert TOKEN.encode() not in settled.settings.encode()
    # A reload needs it still.
    assert settled.reread is not None
    assert settled.reread() == settled.settings


def test_one_run_may_be_served_with_a_token_of_its_own(serve: Callable[..., Settled]) -> None:
    assert serve("--run", "nightly", LEASH_AUTH_TOKEN=TOKEN).settings.run == "nightly"
    assert serve("--insecure").settings.run == ""


def test_a_reload_says_which_files_are_copies_that_only_a_restart_renews(
    serve: Callable[..., Settled], tokens: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tokens(f"team-a: {TOKEN}\n")
    for directory, warned in ((str(tmp_path), True), (str(tmp_path / "elsewhere"), False)):
        settled = serve("--auth-token-file", path, CREDENTIALS_DIRECTORY=directory)
        assert settled.reread is not None
        settled.reread()
        assert (f"{path} is systemd's copy" in capsys.readouterr().err) is warned


def test_a_token_on_the_command_line_is_warned_of(serve: Callable[..., Settled]) -> None:
    output = serve("--auth-token", TOKEN).result.output
    assert "warning: --auth-token shows in the process list" in output
    assert TOKEN not in output


def test_tokens_of_both_kinds_go_together_and_the_file_is_read_again(
    serve: Callable[..., Settled], tokens: Callable[[str], str]
) -> None:
    settled = serve("--auth-token-file", tokens(f"team: {OTHER} max-cost=7\n"), LEASH_AUTH_TOKEN=TOKEN)
    book = settled.settings.tokens
    assert book is not None
    assert [bool(matches(book, token)) for token in (TOKEN, OTHER)] == [True, True]
    assert book.tenants["team"].limits.max_cost == 7_000_000_000
    assert settled.reread is not None
    tokens("team: token-Nooth4chaiph\n")
    book = settled.reread().tokens
    assert book is not None
    assert [bool(matches(book, token)) for token in (TOKEN, OTHER)] == [True, False]
    tokens("team:\n")
    with pytest.raises(ValueError, match="tokens, line 1: a token has"):
        settled.reread()


def test_a_file_of_tokens_that_others_can_read_is_warned_of(
    serve: Callable[..., Settled], tokens: Callable[[str], str]
) -> None:
    path = tokens(f"{TOKEN}\n")
    assert "can be read by others" not in serve("--auth-token-file", path).result.output
    Path(path).chmod(0o644)
    assert f"{path} can be read by others: chmod 600 {path}" in serve("--auth-token-file", path).result.output


@pytest.mark.parametrize("content", [b"\xff\xfe", b"#" * (5 << 20)])
def test_what_is_no_file_of_tokens_is_refused(serve: Callable[..., Settled], tmp_path: Path, content: bytes) -> None:
    (tmp_path / "notes").write_bytes(content)
    result = serve("--auth-token-file", str(tmp_path / "notes")).result
    assert result.exit_code == 2
    assert "--auth-token-file: " in result.output


def test_limits_defaults_and_bounds_are_those_that_were_given(serve: Callable[..., Settled], tmp_path: Path) -> None:
    (tmp_path / "prices.json").write_text('{"m": {"input": 1, "output": 2}}')
    flags = ("--prices", str(tmp_path / "prices.json"), "--max-cost", "20", "--max-conns", "1000", "--workers", "3")
    times = ("--header-timeout", "5s", "--idle-timeout", "0", "--shutdown-timeout", "1m", "--run-idle", "90s")
    config = serve("--insecure", *flags, *times, "--refusal-status", "402").settings
    assert config.limits.max_cost == 20_000_000_000
    assert config.limits.max_calls is None
    assert (config.defaults.max_cost, config.defaults.max_calls) == (5_000_000_000, 100)
    assert config.prices == '{"m": {"input": 1, "output": 2}}'
    assert (config.max_connections, config.max_open_runs, config.refusal_status) == (334, 1000, 402)
    assert (config.header_timeout_s, config.idle_timeout_s, config.shutdown_timeout_s) == (5, 0, 60)
    assert (config.run_idle_s, config.tokens, config.access_log) == (90, None, "off")


def test_without_prices_it_is_said_that_there_is_no_budget(serve: Callable[..., Settled]) -> None:
    assert "no price table: the default cost budget is off" in serve("--insecure").result.output
    assert "no price table" not in serve("--insecure", "--max-cost", "0").result.output


def test_upstreams_are_for_all_or_for_one(serve: Callable[..., Settled]) -> None:
    named = serve("--insecure", *UPSTREAM, "--upstream", "anthropic=http://127.0.0.1:9100").settings.upstreams
    assert named["openai"].startswith("http://127.0.0.1:9099")
    assert named["anthropic"] == "http://127.0.0.1:9100"
    listed = serve("--insecure", LEASH_UPSTREAM="http://127.0.0.1:9099 anthropic=http://127.0.0.1:9100")
    assert listed.settings.upstreams == named


def test_the_certificate_is_looked_at(
    serve: Callable[..., Settled], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    issued = trustme.CA().issue_cert("localhost")
    Path("cert.pem").write_bytes(issued.cert_chain_pems[0].bytes())
    Path("key.pem").write_bytes(issued.private_key_pem.bytes())
    settled = serve("--insecure", "--tls-cert", "cert.pem", "--tls-key", "key.pem")
    # The texts, so that a file that is being written anew does not keep a worker from starting.
    assert settled.settings.tls_cert == Path("cert.pem").read_text(encoding="utf-8")
    assert settled.settings.tls_key == Path("key.pem").read_text(encoding="utf-8")
    assert settled.reread is not None
    Path("key.pem").write_bytes(trustme.CA().issue_cert("localhost").private_key_pem.bytes())
    with pytest.raises(ValueError, match="key values mismatch"):
        settled.reread()


def test_too_few_files_for_so_many_connections_are_said(
    serve: Callable[..., Settled], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leashctl.gateway_plan.connections_allowed", lambda _wanted: 480)
    settled = serve("--insecure")
    assert settled.settings.max_connections == 480
    assert "(ulimit -n) for --max-conns: each worker takes 480 connections" in settled.result.output


def test_the_other_program_serves_as_well(serve: Callable[..., Settled]) -> None:
    assert serve("--insecure", program=leash).config is not None


def test_it_says_where_it_is() -> None:
    [gateway], [admin] = listen(Address("127.0.0.1", 0)), listen(Address("127.0.0.1", 0))
    with closing(gateway), closing(admin):
        one, two = (each.getsockname()[1] for each in (gateway, admin))
        assert _announcement(gateway, None, workers=1, secure=False) == f"gateway on http://127.0.0.1:{one}, 1 worker"
        line = f"gateway on https://127.0.0.1:{one}, 4 workers; admin on http://127.0.0.1:{two}"
        assert _announcement(gateway, admin, workers=4, secure=True) == line


def test_limits_that_contradict_each_other_are_found_at_the_start(
    serve: Callable[..., Settled], tmp_path: Path
) -> None:
    flags = ("--strict", "--deadline", "0", "--max-cost", "5")
    told = serve("--insecure", *flags, "--compute-rate", "1").result
    assert told.exit_code == 2
    assert "the gateway: --strict with a compute rate needs a deadline" in told.output

    tokens = tmp_path / "tokens"
    tokens.write_text("team: token-of-a-team-0123 compute-rate=1\n")
    tokens.chmod(0o600)
    told = serve("--auth-token-file", str(tokens), *flags).result
    assert told.exit_code == 2
    assert "team: --strict with a compute rate needs a deadline" in told.output
