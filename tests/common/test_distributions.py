"""Two distributions: the library, and the pipeline that asks for exactly this library."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PIPELINES = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE = tomllib.loads((ROOT / "core" / "pyproject.toml").read_text())["project"]


def test_the_pipeline_asks_for_the_library_of_its_own_version():
    assert CORE["version"] == PIPELINES["version"]
    assert f"{CORE['name']}[publish]=={CORE['version']}" in PIPELINES["dependencies"]


@pytest.mark.parametrize("module", ["atdata_core.local", "atdata_core.atmosphere", "atdata_core.promote", "atdata"])
def test_the_library_is_imported_without_what_only_some_need(module):
    # A process each: what is imported stays.
    program = (
        "import sys\n"
        "for name in ('dagster', 'grpc', 'sqlalchemy', 'atproto', 'webdataset', 'PIL', 'click'):\n"
        "    sys.modules[name] = None\n"
        f"import {module}\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_a_login_without_atproto_says_what_to_install(monkeypatch):
    from atdata_core.atmosphere import AtmosphereClient
    from atdata_core.errors import RefusedError

    monkeypatch.setitem(sys.modules, "atproto", None)
    client = AtmosphereClient("http://127.0.0.1:9")
    with pytest.raises(RefusedError, match=r"A login needs the package atproto.*atdata-core\[publish\]"):
        client.login("someone.example.org", "password")
