"""Each block of code on each page: it runs, or where it asks for another network or machine, it can be typed."""

import ast
import importlib
import os
import re
import shlex
import sys
import tomllib
import warnings
from pathlib import Path

import click
import pytest
import yaml
from packaging.requirements import Requirement

from atdata_pipelines.cli import main
from atdata_pipelines.components import DatasetPromotion
from libraries import library
from page_blocks import PAGES, ROOT, Block, blocks, prose
from sandbox_shell import SandboxShell, sandbox_shell

BLOCKS = [block for page in PAGES for block in blocks(page)]
LANGUAGES = {"python", "sh", "yaml", "text", "fish"}
"""``text`` shows something; the line of ``fish`` is that of the shells that have tests of their own."""

TUTORIAL = "docs/tutorial.md"
TOLD_IN_TURN = (
    "docs/how-to/read.md",
    "docs/how-to/own-files.md",
    "docs/how-to/services.md",
    "docs/how-to/account.md",
    "docs/how-to/no-bucket.md",
    "docs/how-to/verify.md",
    "docs/how-to/pull.md",
    "docs/how-to/catalogue.md",
    "docs/how-to/change-values.md",
    "docs/how-to/cite.md",
    "docs/how-to/many-datasets.md",
    "docs/how-to/new-version.md",
    "docs/how-to/from-atdata.md",
    "docs/how-to/operate.md",
    "docs/how-to/retract.md",
)
"""How-to pages, each of which finds the dataset of the README stored and published."""

RUN_ELSEWHERE = {
    "README.md": "tests/page/test_readme.py",
    "docs/how-to/python.md": "tests/page/test_readme.py",
    "docs/how-to/dagster-project.md": "tests/pipelines/components/test_component.py",
    "docs/reference/commands.md": "tests/pipelines/cli/test_commands.py",
}


def of(language):
    chosen = [block for block in BLOCKS if block.language == language]
    return pytest.mark.parametrize("block", chosen, ids=[f"{b.page}-{n}" for n, b in enumerate(chosen)])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_block_says_its_language_and_no_command_stands_outside_of_one(page):
    assert {block.language for block in blocks(page)} <= LANGUAGES
    assert "```" not in prose(page)
    assert not re.findall(
        r"^    (?:atdata-pipelines|pip|dagster|dg|celery|make|python) .*", prose(page), re.MULTILINE
    )


@of("python")
def test_what_a_program_imports_is_there(block):
    own = {Path(each.file).stem for each in BLOCKS if each.file}
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and node.module not in own:
            module = importlib.import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name) or importlib.import_module(f"{node.module}.{name.name}")
        elif isinstance(node, ast.Import):
            for name in node.names:
                importlib.import_module(name.name)


@of("yaml")
def test_an_instance_has_attributes_that_the_component_knows(block):
    found = yaml.safe_load(block.text)
    module, _, name = found["type"].rpartition(".")
    component = getattr(importlib.import_module(module), name)
    assert issubclass(component, DatasetPromotion)
    assert found["attributes"].keys() <= component.model_fields.keys()


# dg imports what its typer takes from Click.
@pytest.mark.filterwarnings("ignore:.*will be removed in Click 9.0")
@of("sh")
def test_a_command_can_be_typed(block, monkeypatch):
    monkeypatch.setenv("ATDATA_BUCKET", "lab-bucket")
    monkeypatch.setenv("ATDATA_REDIS_URL", "redis://127.0.0.1:1")
    for line in block.lines:
        if block.file != ".env":
            program, *words = shlex.split(line)
            PROGRAMS[program](block, words)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.file == ".env"], ids=lambda block: block.page)
def test_a_file_of_variables_is_read_by_the_program_and_each_is_known(block, tmp_path, monkeypatch):
    (tmp_path / ".env").write_text(block.text)
    monkeypatch.chdir(tmp_path)
    # What the program changes for itself.
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    main.callback()
    assert os.environ == dict(line.split("=", 1) for line in block.lines)
    example = (ROOT / ".env.example").read_text()
    assert os.environ.keys() <= set(re.findall(r"^#?(\w+)=", example, re.MULTILINE))


def _ours(_, words):
    # Paths on the page need not be there to be typed.
    words = [
        str(ROOT) if not word.startswith("-") and word.endswith(("/", ".tar", "-64", "-32")) else word
        for word in words
    ]
    assert _parsed(main, words) in main.commands


def _parsed(command, words):
    """Click's own parsing of the command that the first words name; its name."""
    at, words = command, list(words)
    while isinstance(at, click.Group):
        at = at.get_command(click.Context(at), words.pop(0))
        assert at is not None, words
    at.make_context(at.name, words)
    return at.name


def _pip(_, words):
    known = {
        project["name"]: project.get("optional-dependencies", {})
        for file in (ROOT / "pyproject.toml", ROOT / "core" / "pyproject.toml")
        for project in [tomllib.loads(file.read_text())["project"]]
    }
    pinned = (ROOT / "constraints.txt").read_text()
    assert words[0] in ("install", "uninstall")
    for asked in (Requirement(word) for word in words[1:] if not word.startswith("-")):
        if asked.name in known:
            assert asked.extras <= known[asked.name].keys()
        elif words[0] == "install":
            assert re.search(rf"^{asked.name}==", pinned, re.MULTILINE), asked
        else:
            assert asked.name == "atdata"


def _python(block, words):
    assert words[0] in [each.file for each in BLOCKS if each.page in (block.page, "README.md")]


def _make(_, words):
    assert all(re.search(rf"^{word}:", (ROOT / "Makefile").read_text(), re.MULTILINE) for word in words)


def _dagster(_, words):
    from dagster._cli import create_dagster_cli

    assert _parsed(create_dagster_cli(), words)


def _daemon(_, words):
    from dagster._daemon.cli import create_dagster_daemon_cli

    assert _parsed(create_dagster_daemon_cli(), words)


def _webserver(_, words):
    from dagster_webserver.cli import create_dagster_webserver_cli

    create_dagster_webserver_cli().make_context("dagster-webserver", list(words))


def _dg(_, words):
    from dagster_dg_cli.cli import create_dg_cli

    # Looked up only: what comes after them, dg wants to find in a project.
    at = create_dg_cli()
    for word in words[:2]:
        at = at.get_command(click.Context(at), word)
        assert at is not None, words
    if len(words) > 2:
        module, _, name = words[2].rpartition(".")
        assert hasattr(importlib.import_module(module), name)


def _celery(_, words):
    from celery.bin.worker import worker

    assert words[0] == "-A"
    assert importlib.import_module(words[1])
    assert words[2] == "worker"
    assert {"-Q"} == {word for word in words if word.startswith("-Q")} <= {o for p in worker.params for o in p.opts}


def _helm(_, words):
    assert (ROOT / words[-1]).is_file()


def _completion(_, words):
    assert words[0].startswith("$(_ATDATA_PIPELINES_COMPLETE=")


PROGRAMS = {
    "atdata-pipelines": _ours,
    "pip": _pip,
    "python": _python,
    "make": _make,
    "dagster": _dagster,
    "dagster-daemon": _daemon,
    "dagster-webserver": _webserver,
    "dg": _dg,
    "celery": _celery,
    "helm": _helm,
    "eval": _completion,
}
RUN_BY = {
    "dagster": "page/test_servers.py",
    "dagster-daemon": "page/test_servers.py",
    "dagster-webserver": "page/test_servers.py",
    "dg": "pipelines/components/test_component.py",
    "celery": "pipelines/config/test_celery.py",
    "eval": "pipelines/cli/test_commands.py",
}
"""Beside what runs the pages of commands and programs below, these tests run the lines as they stand there."""
TYPED_ONLY = {
    "pip": "it fetches hundreds of megabytes; CI installs the wheels that it names",
    "make": "CI does that",
    "helm": "it wants a cluster; pipelines/config/test_deployment.py holds its version and values against Dagster",
}


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Somebody's shell, with the programs of the README in its folder."""
    folder = tmp_path_factory.mktemp("day")
    write(blocks(ROOT / "README.md"), folder)
    with sandbox_shell(folder) as found:
        yield found


def write(found: list[Block], folder: Path) -> None:
    for block in found:
        if block.language == "python" and block.file:
            (folder / block.file).write_text(block.text)


def go_through(page: str, shell: SandboxShell, folder: Path) -> dict[str, str]:
    """Run each block of a page; what each line printed."""
    printed: dict[str, str] = {}
    found = blocks(ROOT / page)
    write(found, folder)
    for block in found:
        if block.language == "python" and not block.file:
            login = (
                "import os\nhandle, app_password = os.environ['ATDATA_HANDLE'], os.environ['ATDATA_APP_PASSWORD']\n"
            )
            (folder / "block.py").write_text(login + block.text)
            printed[block.text] = shell.run("python block.py", folder=folder)
        for line in block.lines if block.language == "sh" and not block.file else ():
            if shlex.split(line)[0] in ("atdata-pipelines", "python") and "sandbox" not in line:
                printed[line] = shell.run(line, folder=folder)
    return printed


# A sandbox, and processes that import all of Dagster; nine pages of them.
@pytest.mark.slow
def test_the_tutorial_goes_as_it_says(shell, tmp_path):
    pytest.importorskip("sklearn")
    printed = go_through(TUTORIAL, shell, tmp_path)
    assert (tmp_path / "tiles-preview" / "pixels.png").is_file()
    assert "readable by anybody" in printed["atdata-pipelines verify @demo.test/tiles"]
    assert "china (64, 64, 3)" in printed["python read.py"]
    assert "tiles: due" in printed["atdata-pipelines status tiles"]


@pytest.mark.slow
@pytest.mark.parametrize("page", TOLD_IN_TURN)
def test_a_how_to_page_goes_as_it_says(page, shell):
    if "--samples" in (ROOT / page).read_text():
        library("pyarrow")
    shell.run("python store.py")
    shell.run("atdata-pipelines promote points --license CC0-1.0")
    assert go_through(page, shell, shell.folder)


def test_each_page_with_a_command_of_ours_or_a_program_is_run():
    run = {TUTORIAL, *TOLD_IN_TURN, *RUN_ELSEWHERE}
    own = {
        block.page
        for block in BLOCKS
        if block.language == "python"
        or (block.language == "sh" and "atdata-pipelines" in block.text and "pip install" not in block.text)
    }
    assert own <= run
    assert {*RUN_BY, *TYPED_ONLY, "atdata-pipelines", "python"} == PROGRAMS.keys()
    assert all((ROOT / "tests" / name).is_file() for name in RUN_BY.values())
    assert all((ROOT / name).is_file() for name in RUN_ELSEWHERE.values())
