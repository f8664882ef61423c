"""What strangers write is read without harm: only our own errors, little memory, nothing touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROCESSES = 2
INPUTS = 100_000
MOST_GROWN = 100_000_000
"""Bytes over idle: 100 MB of 1,000,000 bytes, as the table says."""


def start(seed, count):
    """Feed ``count`` inputs in a process of its own."""
    places = [str(Path(__file__).resolve().parents[3]), str(Path(__file__).resolve().parents[2] / "support")]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    command = [sys.executable, "-m", "hostile", str(seed), str(count)]
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process):
    """What it says; nothing harmful may be in it."""
    out, err = process.communicate()
    assert process.returncode == 0, err[-3000:]
    told = json.loads(out)
    assert told["failures"] == {}
    assert told["touched"] == {}
    assert told["hits"] == 0
    assert told["grown"] <= MOST_GROWN, f"MB: { {target: size / 1e6 for target, size in told['most'].items()} }"
    return told


@pytest.mark.slow
def test_a_sample_of_hostile_inputs_does_no_harm():
    told = end(start(seed=0, count=1_500))
    assert told["inputs"] >= 1_400
    assert 0 < told["refused"] < told["inputs"]


@pytest.mark.faults
def test_a_hundred_thousand_hostile_inputs_do_no_harm(reliability):
    running = [start(seed, INPUTS // PROCESSES + 50) for seed in range(1, PROCESSES + 1)]
    told = [end(process) for process in running]
    inputs = sum(each["inputs"] for each in told)
    assert inputs >= INPUTS
    kinds = ", ".join(sorted(told[0]["read"]))
    grown = max(each["grown"] for each in told)
    reliability(
        "Hostile input",
        "100,000 inputs: only our own errors, at most 100 MB over idle, no file or address touched",
        f"{inputs:,} inputs ({kinds}): 0 other errors, {grown / 1e6:.0f} MB over idle at most, 0 files and 0 "
        "addresses touched",
        runs=inputs,
    )
