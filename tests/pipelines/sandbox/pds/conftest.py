"""The PDS of the sandbox in this process, over a folder."""

from __future__ import annotations

import pytest

from atdata_pipelines.sandbox.pds.server import Pds


@pytest.fixture
def opened(tmp_path):
    """Open the folder of a PDS, each time anew."""
    running = []

    def open_again():
        while running:
            running.pop().database.close()
        running.append(Pds(tmp_path, "http://127.0.0.1:1"))
        return running[0]

    yield open_again
    while running:
        running.pop().database.close()
