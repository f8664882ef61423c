"""What a command loads before it does its work: Dagster takes seconds, and few commands need it."""

import os
import signal
import subprocess
import sys

import pytest

RUN = """
import sys
from atdata_pipelines.cli import main
try:
    main(sys.argv[1:], prog_name="atdata-pipelines")
finally:
    print(*sorted({"dagster", "pydantic"} & {*sys.modules}), file=sys.stderr)
"""


SAMPLES = """
import atdata_core as atdata
import numpy as np
from numpy.typing import NDArray

@atdata.packable
class Picture:
    image: NDArray[np.uint8]
    vector: NDArray[np.float32]
    word: str
    label: int
"""


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["show", "pictures"],
        ["preview", "pictures"],
        ["remove", "pictures", "--yes"],
        ["verify", "pictures"],
        ["add", "pictures", "000.tar", "--type", "samples:Picture"],
        ["completion"],
    ],
    ids=lambda words: words[0],
)
def test_commands_that_need_no_run_start_without_dagster(lab, promote, tmp_path, monkeypatch, words):
    # About a second each: a process of its own.
    lab.insert("pictures")
    if words[0] == "verify":
        promote("pictures")
    if words[0] == "add":
        monkeypatch.setenv("ATDATA_BUCKET", lab.bucket)
        (tmp_path / "samples.py").write_text(SAMPLES)
    environ = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    if words == ["completion"]:
        words = []
        environ |= {
            "_ATDATA_PIPELINES_COMPLETE": "bash_complete",
            "COMP_WORDS": "atdata-pipelines show pic",
            "COMP_CWORD": "2",
        }
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "pictures" in done.stdout
    assert "dagster" not in done.stderr.splitlines()[-1]


def test_ctrl_c_while_a_command_is_loaded_ends_it_without_a_traceback(tmp_path):
    # A library that takes long to load, as on a slow disk.
    (tmp_path / "click.py").write_text("import time\nprint('loading', flush=True)\ntime.sleep(60)\n")
    with subprocess.Popen(
        [sys.executable, "-m", "atdata_pipelines", "list"],
        env={**os.environ, "PYTHONPATH": ":".join([str(tmp_path), *sys.path])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as started:
        assert started.stdout.readline() == "loading\n"
        started.send_signal(signal.SIGINT)
        assert started.wait(20) == 130
        assert started.stderr.read() == "Stopped before anything was begun. Run it again.\n"
