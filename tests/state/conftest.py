"""The state of an index of one's own."""

import pytest

from atdata_core.local import LocalIndex


@pytest.fixture
def index(environ):
    return LocalIndex()
