"""Libraries that only some environments have."""

import importlib
import os

import pytest


def library(name):
    """The library; where it is not there the test is skipped, but fails in CI, which is to prove it."""
    return importlib.import_module(name) if os.environ.get("CI") else pytest.importorskip(name)
