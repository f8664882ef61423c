"""``import atdata`` finds this library, unless another distribution has a package of that name."""

import os
import subprocess
import sys
from pathlib import Path

import atdata.local
import atdata.local.local_index
import pytest

import atdata
import atdata_core.local
import atdata_core.local.local_index

ROOT = Path(__file__).resolve().parents[1]


def test_modules_are_the_same_objects_under_both_names():
    assert atdata.local is atdata_core.local
    assert atdata.local.local_index is atdata_core.local.local_index
    assert atdata.local.__spec__.name == "atdata_core.local"
    assert atdata.Dataset is atdata_core.Dataset
    assert set(atdata_core.__all__) <= set(dir(atdata))


def test_a_module_that_is_not_there_is_missed_by_its_name():
    with pytest.raises(ModuleNotFoundError, match=r"atdata\.nothing"):
        __import__("atdata.nothing")


def test_it_gives_way_to_a_package_of_another_distribution(tmp_path):
    (tmp_path / "atdata").mkdir()
    (tmp_path / "atdata" / "__init__.py").write_text("whose = 'theirs'\n")
    (tmp_path / "atdata" / "local.py").write_text("whose = 'theirs too'\n")
    program = "import atdata, atdata.local; print(atdata.whose, atdata.local.whose)"
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert done.stdout == "theirs theirs too\n", done.stderr
