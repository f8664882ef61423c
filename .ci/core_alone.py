"""Use atdata-core where nothing else is installed: how large it is, what it does without, a public dataset.

``python core_alone.py AT_URI``, in an environment of its own, which knows where the network's directory is.
"""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

MOST = 120_000_000
"""Bytes of what is installed, compiled files with it."""

ABSENT = ("dagster", "grpc", "sqlalchemy", "atproto", "webdataset", "atdata_pipelines")


def installed_bytes() -> int:
    """Bytes of all that lies in this environment, but for pip and setuptools, which every environment has."""
    site = Path(sysconfig.get_path("purelib"))
    besides = ("pip", "setuptools", "pkg_resources", "_distutils_hack", "distutils-precedence")
    return sum(
        file.stat().st_size
        for folder in site.iterdir()
        if not folder.name.startswith(besides)
        for file in (folder.rglob("*") if folder.is_dir() else [folder])
        if file.is_file()
    )


def main() -> None:
    """All checks; an exception where one fails."""
    size = installed_bytes()
    names = sorted(each.name for each in metadata.distributions())
    assert size <= MOST, f"atdata-core takes {size / 1e6:.0f} MB, more than {MOST / 1e6:.0f}: {', '.join(names)}"
    there = [name for name in ABSENT if importlib.util.find_spec(name)]
    assert not there, f"atdata-core brings {', '.join(there)}"

    from atdata.atmosphere import AtmosphereClient, AtmosphereIndex
    from atdata.local import LocalIndex, S3DataStore

    assert LocalIndex, S3DataStore
    dataset = AtmosphereIndex(AtmosphereClient()).open_dataset(sys.argv[1])
    read = list(dataset.ordered())
    assert [sample.label for sample in read] == list(range(10))
    assert all((sample.position == sample.label).all() for sample in read)
    print(f"atdata-core alone: {size / 1e6:.0f} MB, {len(names)} packages, a public dataset read")


if __name__ == "__main__":
    main()
