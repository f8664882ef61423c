"""What the README says is so: its program runs, its commands exist."""

import re
from pathlib import Path

import pytest

from atdata_core.stores.s3.objects import S3Endpoint
from atdata_pipelines.cli import main
from atdata_pipelines.demo.digits import LAB, store_digits

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def readme():
    return (ROOT / "README.md").read_text()


def test_its_program_publishes_and_a_stranger_reads(readme, box, environ, account, capsys):
    pytest.importorskip("sklearn")
    client = S3Endpoint.from_credentials(box.s3).client
    if LAB not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=LAB)
    store_digits(box)
    (program,) = re.findall(r"^```python\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL)
    names = {"__name__": "readme", "handle": account.handle, "app_password": account.password}
    exec(compile(program, "README.md", "exec"), names)
    assert names["uri"].startswith(f"at://{account.did}/")
    assert capsys.readouterr().out == "0 (8, 8)\n"


def test_its_commands_exist(readme):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    asked = set(re.findall(r"make ([a-z-]+)", readme))
    assert {"demo", "ui", "test", "test-all"} <= asked <= set(targets)
    commands = set(re.findall(r"atdata-pipelines ([a-z]+)\b", readme)) & set(main.commands)
    assert {"promote", "sandbox", "verify"} <= commands


def test_the_variables_that_the_code_reads_are_in_the_example(readme):
    example = (ROOT / ".env.example").read_text()
    listed = set(re.findall(r"^#?(ATDATA_[A-Z_]+)=", example, flags=re.MULTILINE))
    read = set()
    for package in ("atdata_core", "atdata_pipelines"):
        for file in (ROOT / package).rglob("*.py"):
            read |= set(re.findall(r"\b(ATDATA_[A-Z_]*[A-Z])\b", file.read_text()))
    assert read == listed
    assert ".env.example" in readme
