"""What the README says is so: each block of its first day runs, its commands exist."""

import re
import tomllib
from pathlib import Path

import pytest

from atdata_core.stores.s3.objects import S3Endpoint
from atdata_pipelines.cli import main
from atdata_pipelines.demo.digits import LAB, store_digits
from sandbox_shell import sandbox_shell

ROOT = Path(__file__).resolve().parents[2]
SCREEN = 80
"""Lines that a person takes in without leaving the page."""


@pytest.fixture(scope="module")
def readme():
    return (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def pages(readme):
    """README and all other pages."""
    others = [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return readme + "".join(page.read_text() for page in others)


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_it_fits_on_one_screen(readme):
    assert len(readme.splitlines()) <= SCREEN


def test_what_it_installs_is_there_to_be_installed(readme):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = tomllib.loads((ROOT / "core" / "pyproject.toml").read_text())["project"]
    (named,) = re.findall(r"pip install \"(.+?)\[(.+?)\]\"", readme)
    assert named[0] == project["name"]
    assert named[1] in project["optional-dependencies"]
    assert f"`pip install {core['name']}`" in readme


# A sandbox and six processes, one of which imports all of Dagster.
@pytest.mark.slow
def test_a_first_day_goes_as_the_readme_says(readme, tmp_path):
    for program in blocks(readme, "python"):
        (tmp_path / re.match(r"# (\w+\.py)\n", program)[1]).write_text(program)
    (_, sandbox), commands = (block.splitlines() for block in blocks(readme, "sh"))
    with sandbox_shell(tmp_path, sandbox) as shell:
        said = {line.split()[1]: shell.run(line) for line in commands}
        uri = re.search(r"at://\S+/science\.alt\.dataset\.entry/\w+", said["promote"])[0]
        assert "ok" in said["verify"]
        assert "private" not in said["verify"]
        network = ("ATDATA_PDS_URL", "ATDATA_PLC_URL", "ATDATA_ALLOW_PRIVATE")
        anonymous = {name: shell.variables[name] for name in network}
        sample = shell.run(f"python read.py {uri}", variables=anonymous)
        assert re.match(r"Point\(position=array\(\[.*\]\), group=0\)", sample)
        assert Path(shell.variables["DAGSTER_HOME"], "history").is_dir()


def test_the_program_that_promotes_publishes_and_a_stranger_reads(box, environ, account, capsys):
    pytest.importorskip("sklearn")
    client = S3Endpoint.from_credentials(box.s3).client
    if LAB not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=LAB)
    store_digits(box)
    (program,) = blocks((ROOT / "docs" / "how-to" / "python.md").read_text(), "python")
    names = {"__name__": "promote", "handle": account.handle, "app_password": account.password}
    exec(compile(program, "python.md", "exec"), names)
    assert names["uri"].startswith(f"at://{account.did}/")
    assert capsys.readouterr().out == "0 (8, 8)\n"


def test_its_commands_exist(pages):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    asked = set(re.findall(r"(?:^|`)make ([a-z-]+)(?:`|$)", pages, flags=re.MULTILINE))
    assert {"demo", "ui", "check", "test-all"} <= asked <= set(targets)
    commands = set(re.findall(r"atdata-pipelines ([a-z]+)\b", pages)) & set(main.commands)
    assert {"promote", "sandbox", "verify"} <= commands


def test_the_pages_that_it_names_are_there(readme):
    named = re.findall(r"\]\((docs/.+?)\)", readme)
    assert named
    assert not [page for page in named if not (ROOT / page).is_file()]


def test_the_variables_that_the_code_reads_are_in_the_example(readme):
    example = (ROOT / ".env.example").read_text()
    listed = set(re.findall(r"^#?(ATDATA_[A-Z_]+)=", example, flags=re.MULTILINE))
    read = set()
    for package in ("atdata_core", "atdata_pipelines"):
        for file in (ROOT / package).rglob("*.py"):
            read |= set(re.findall(r"\b(ATDATA_[A-Z_]*[A-Z])\b", file.read_text()))
    assert read == listed
    assert ".env.example" in readme
