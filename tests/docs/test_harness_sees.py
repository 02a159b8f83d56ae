"""What runs and checks the pages notices what is wrong with one: each of these is a page that must not pass."""

from __future__ import annotations

import shutil
import textwrap

import pytest

from tests.docs.blocks import Page, PageError, tags
from tests.docs.command_lines import CommandLineError, check, command_lines, inline_commands
from tests.docs.session import Session
from tests.docs.steps import matches, steps
from tests.harness import Workspace


def page(text: str) -> Page:
    return Page.parse("page.md", textwrap.dedent(text))


def run(workspace: Workspace, text: str) -> None:
    Session(workspace).run(steps(page(text)))


def test_blocks_share_a_shell_and_files_are_written_in_their_place(workspace: Workspace) -> None:
    run(
        workspace,
        """\
        <!-- file: a/told.txt -->
        ```text
        written
        ```
        <!-- before: before=did -->
        ```sh
        cd a && word=$(cat told.txt)
        ```
        In between.
        ```sh
        echo "$word and $before"; echo to stderr >&2
        ```

        <!-- output -->
        ```text
        written and d…d
        …
        ```
        <!-- exit: 3 -->
        ```sh
        true
        exit 3
        ```
        ```console
        $ sh -c 'echo some \\
        >   words; exit 4'
        some words
        $ echo $?
        4
        ```
        """,
    )


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl (Debian: apt-get install curl)")
def test_a_server_serves_what_follows_until_it_is_told_to_end(workspace: Workspace) -> None:
    run(
        workspace,
        """\
        <!-- background: fake provider: -->
        ```sh
        leashctl fake-provider
        ```
        ```sh
        curl -sf http://127.0.0.1:9099/_stats
        ```
        <!-- servers end -->
        <!-- exit: 7 -->
        ```sh
        curl -s http://127.0.0.1:9099/_stats
        ```
        """,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("```sh\nfalse\ntrue\n```", "page.md:1: it ended with 1"),
        ("```sh\necho $nowhere\n```", "nowhere: unbound variable"),
        ("```sh\nexit 0\n```\n```sh\ntrue\n```", "a block has left the shell"),
        ("<!-- exit: 3 -->\n```sh\ntrue\n```", "page.md:2: it did not end with 3"),
        ("```sh\necho one\n```\n<!-- output -->\n```text\ntwo\n```", "the page says that it prints"),
        ("```console\n$ echo one\n```", "the page says that it prints"),
        ("```console\n$ false\n$ true\n```", "page.md:2: it ended with 1"),
        ("```console\n$ sh -c 'exit 4'\n$ echo $?\n3\n```", "the page says that it prints"),
        ("<!-- background: ready -->\n```sh\necho no\n```", "page.md:2: it ended with 1, before it was ready"),
    ],
)
def test_a_page_that_is_wrong_fails_and_says_where(text: str, said: str, workspace: Workspace) -> None:
    with pytest.raises(AssertionError) as failure:
        run(workspace, text)
    assert said in str(failure.value)


@pytest.mark.parametrize(
    "text",
    [
        "```sh\nno end",
        "<!-- notrun: a typo -->\n```sh\ntrue\n```",
        "<!-- output -->\n```text\nof nothing\n```",
        "```console\nno prompt\n```",
    ],
)
def test_a_page_that_cannot_be_understood_is_an_error(text: str) -> None:
    with pytest.raises(PageError):
        steps(page(text))


def test_what_is_not_run_is_known_with_its_reason() -> None:
    text = "<!-- not run: it needs\n  a cluster -->\n```sh\none\n```\n```sh\ntwo\n```\n"
    assert [(block.line, kind, reason) for block, kind, reason in tags(page(text))] == [
        (3, "not run", "it needs a cluster")
    ]
    assert [step.script for step in steps(page(text))] == ["two\n"]
    assert not steps(page(f"<!-- page not run: it is generated -->\n{text}"))


def test_an_ellipsis_stands_for_anything_in_a_line_or_for_any_lines() -> None:
    assert matches("run … ended\n", "run a3f9 ended\n")
    assert matches("…\nlast\n", "first\nsecond\nlast\n")
    assert matches("…\n", "")
    assert not matches("run … ended\n", "run a3f9\nended\n")
    assert not matches("one\n", "one\ntwo\n")


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("leashctl ps --all   # every run", [["leashctl", "ps", "--all"]]),
        ("sudo A=b leashctl ps > list 2>&1 && leashctl kill a", [["leashctl", "ps"], ["leashctl", "kill", "a"]]),
        ("x=$(leashctl gen-token)", [["leashctl", "gen-token"]]),
        ("docker run -v leash:/data leash serve --max-calls 3", [["leash", "serve", "--max-calls", "3"]]),
        ("docker exec leash leashctl backup - > copy", [["leashctl", "backup", "-"]]),
        (".venv/bin/leash \\\n  demo", [["leash", "demo"]]),
        ("cat > file <<EOF\nleashctl nothing\nEOF\nleashctl ps", [["leashctl", "ps"]]),
        ("echo 'leashctl nothing'; docker build -t leash .", []),
    ],
)
def test_commands_of_leash_are_found(script: str, found: list[list[str]]) -> None:
    assert list(command_lines(script)) == found


@pytest.mark.parametrize(
    "line",
    [
        "leashctl pss",
        "leashctl ps --al",
        "leashctl raise",
        "leash --max-costs 5 -- python agent.py",
        "leashd --ledgre x",
    ],
)
def test_a_command_line_that_the_program_refuses_is_refused(line: str) -> None:
    [words] = command_lines(line)
    with pytest.raises(CommandLineError):
        check(words, strict=True)


@pytest.mark.parametrize(
    "code", ["leashctl raise RUN --max-cost …", "leashctl inspect [RUN]", "leash -- python agent.py"]
)
def test_placeholders_are_taken_in_a_sentence(code: str) -> None:
    [words] = inline_commands(f"Type `{code}` then.")
    check(words, strict=False)


def test_a_flag_that_there_is_not_is_seen_in_a_sentence() -> None:
    [words] = inline_commands("Type `leashctl raise RUN --budget 5` then.")
    with pytest.raises(CommandLineError):
        check(words, strict=False)
