"""What a command loads before it does its work: Dagster takes seconds, and few commands need it."""

import os
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


@pytest.mark.parametrize(
    "words",
    [
        ["list"],
        ["show", "pictures"],
        ["preview", "pictures"],
        ["remove", "pictures", "--yes"],
        ["completion"],
    ],
    ids=lambda words: words[0],
)
def test_commands_that_ask_redis_alone_start_without_dagster(lab, tmp_path, words):
    # About a second each: a process of its own.
    lab.insert("pictures")
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
