"""What all commands have in common: help, JSON, exit codes, shell completion, what Dagster says."""

import json
import os
import re
import shlex
import subprocess
import sys
import warnings
from datetime import datetime
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete

from atdata_core.errors import ShardWarning
from atdata_pipelines.cli import main
from atdata_pipelines.cli.command import EXIT_CODES, Command
from pages.reference import REFERENCE, commands

ROOT = Path(__file__).parents[3]
PAGE = REFERENCE / "commands.md"
COMMANDS = sorted(main.commands.items())


def helped(command: click.Command, *, width: int) -> str:
    return command.get_help(click.Context(command, info_name=command.name, terminal_width=width))


@pytest.mark.parametrize(("name", "each"), COMMANDS)
def test_each_command_has_examples_that_can_be_typed(name, each, monkeypatch):
    monkeypatch.setenv("ATDATA_BUCKET", "lab-bucket")
    assert isinstance(each, Command)
    assert each.examples
    for example in each.examples:
        called, *arguments = shlex.split(example)
        assert called == name
        if name == "add":
            # Its paths must be there.
            arguments = [
                str(ROOT) if "--" not in word and word.endswith(("/", ".tar")) else word for word in arguments
            ]
        each.make_context(name, arguments)


@pytest.mark.parametrize("width", [60, 80, 110])
def test_help_is_not_cut(width):
    text = helped(main, width=width)
    assert "..." not in re.sub(r"NAME\.\.\.", "NAME", text).replace("[ARGS]...", "")
    whole = " ".join(text.split())
    for name, each in COMMANDS:
        assert each.get_short_help_str() in whole, name
        shown = helped(each, width=width)
        assert all(example in shown for example in each.examples)
        for option in each.params:
            if isinstance(option, click.Option):
                assert " ".join(option.help.split()) in " ".join(shown.split())


def test_help_fits_80_columns():
    for text in (helped(main, width=80), *(helped(each, width=80) for _, each in COMMANDS)):
        assert [line for line in text.splitlines() if len(line) > 80] == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
def test_a_full_disk_behind_stdout_is_told_in_a_line(lab, tmp_path):
    # About a second: a process of its own, whose stdout is a full device.
    lab.insert("pictures")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "atdata_pipelines", "list", "--json"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    said = "Error: The output cannot be written: No space left on device.\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_times_are_told_alike(lab, command):
    lab.insert("pictures")
    listed, shown = (json.loads(command(*words, "--json").stdout) for words in (["list"], ["show", "pictures"]))
    assert listed["registered_at"] == shown["registered_at"]
    assert datetime.fromisoformat(shown["registered_at"]).tzinfo is not None


@pytest.mark.parametrize("words", [["show", "pictoures"], ["promote", "pictoures"], ["remove", "pictoures"]])
def test_a_name_that_is_not_there_is_told_in_words_of_the_command_line(lab, command, words):
    lab.insert("pictures")
    result = command(*words)
    assert result.exit_code == 1
    assert "The index has no dataset 'pictoures'. `atdata-pipelines list` shows" in result.stderr
    assert result.stderr.rstrip().endswith("Near it: pictures.")
    assert "Repo.insert" not in result.stderr


def test_without_services_the_sandbox_is_named(command):
    assert "`atdata-pipelines sandbox`" in command("list").stderr


@pytest.mark.parametrize(("name", "each"), COMMANDS)
def test_each_command_can_answer_in_json(name, each):
    assert "--json" in [flag for option in each.params for flag in option.opts]


def test_exit_codes_are_in_the_help_and_on_the_page():
    text, page = helped(main, width=100), PAGE.read_text()
    assert set(EXIT_CODES) == {0, 1, 2, 3, 130}
    for code, meaning in EXIT_CODES.items():
        assert re.search(rf"^  {code}\s+{re.escape(meaning)}$", text, re.MULTILINE)
        assert f"| {code} | {meaning} |" in page


def test_the_page_is_made_from_the_commands():
    page = PAGE.read_text()
    assert page == commands(), "the commands have changed: `make docs` writes the page anew"
    for name, each in COMMANDS:
        assert f"\n## {name}\n" in page, name
        assert all(f"atdata-pipelines {example}" in page for example in each.examples), name


def test_a_command_that_is_not_typed_right_ends_with_2(command):
    for words in (["promote"], ["plan", "a", "--all"], ["add", "cells"], ["verify"], ["nonsense"]):
        result = command(*words)
        assert (result.exit_code, result.stdout) == (2, ""), words


def test_stdout_has_nothing_but_json_a_line_of_it_for_each(lab, promote, command):
    lab.insert("pictures")
    lab.insert("other", start=9)
    uri = promote("pictures")
    lines = {
        "list": 2,
        "status": 2,
        "status pictures": 1,
        "show pictures": 1,
        f"show {uri}": 1,
        "preview pictures": 1,
        "plan other pictures": 2,
        "promote --all": 1,
        "promote pictures other": 2,
        "promote pictures nothing": 2,
        f"verify {uri}": 1,
        "reconcile": 1,
        "accept pictures": 1,
        "doctor": None,
        "retract pictures --yes": 1,
        "remove pictures --yes": 1,
    }
    for words, count in lines.items():
        result = command(*words.split(), "--json")
        assert result.exit_code in (0, 1, 3), result.output
        found = [json.loads(line) for line in result.stdout.splitlines()]
        assert all(isinstance(each, dict) for each in found)
        assert len(found) == count or (count is None and len(found) > 5), words


def test_an_at_uri_is_told_once_and_whole(lab, command):
    lab.insert("pictures")
    result = command("promote", "pictures")
    uri = result.stdout.split()[-1]
    assert (result.stdout + result.stderr).count(uri) == 1
    for words in (
        ["status", "pictures"],
        ["status"],
        ["list"],
        ["show", "pictures"],
        ["show", uri],
        ["plan", "pictures"],
    ):
        said = command(*words)
        assert said.output.count(uri) == 1, said.output


def test_what_is_piped_is_not_cut(lab, promote, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    name = "a-dataset-with-a-name-that-is-longer-than-any-terminal-has-room-for-" * 2
    lab.insert(name)
    uri = promote(name)
    for words in (["list"], ["status"]):
        text = command(*words).stdout
        assert name in text
        assert uri in text
        assert "…" not in text


def test_a_shell_completes_commands_options_and_names_of_datasets(lab, monkeypatch):
    lab.insert("pictures")
    lab.insert("plates", start=9)

    def completed(*words: str) -> list[str]:
        *before, last = words
        return [
            each.value
            for each in BashComplete(main, {}, "atdata-pipelines", "_ATDATA_PIPELINES_COMPLETE").get_completions(
                list(before), last
            )
        ]

    assert completed("pr") == ["preview", "promote", "prune"]
    assert "--dry-run" in completed("promote", "--")
    assert completed("promote", "p") == ["pictures", "plates"]
    assert completed("status", "pl") == ["plates"]
    monkeypatch.setenv("ATDATA_REDIS_URL", "nonsense")
    assert completed("promote", "p") == []


def test_the_line_on_the_page_turns_completion_on(tmp_path):
    # Over a second: a process of its own.
    [line] = re.findall(r"^eval .*$", PAGE.read_text(), flags=re.MULTILINE)
    program = tmp_path / "atdata-pipelines"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m atdata_pipelines "$@"\n')
    program.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", f"{line}\ncomplete -p atdata-pipelines"],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert re.search(r"complete .*-F \w+ atdata-pipelines", done.stdout), done.stderr


@pytest.mark.slow
def test_dagster_says_nothing_of_its_own(lab, account_environ, tmp_path):
    # Long: processes of their own, one with a fresh DAGSTER_HOME whose owner has said nothing of telemetry.
    lab.insert("pictures")
    home = tmp_path / "home"
    home.mkdir()
    for words in (["promote", "pictures"], ["status"], ["prune"]):
        done = subprocess.run(
            [sys.executable, "-m", "atdata_pipelines", *words],
            env={**os.environ, "DAGSTER_HOME": str(home), "PYTHONPATH": ":".join(sys.path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert not re.search(
            "telemetry|slack|warning|dagster\\.yaml|site-packages", done.stdout + done.stderr, re.IGNORECASE
        )
    assert not (home / ".telemetry").exists()


def test_our_warnings_are_a_line_and_those_of_others_are_not_told(command, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        command("list")
        warnings.warn("shard.tar: 3 files belong to no sample.", ShardWarning, stacklevel=1)
        warnings.warn("use something else", DeprecationWarning, stacklevel=1)
    assert capsys.readouterr().err == "Warning: shard.tar: 3 files belong to no sample.\n"
