"""Use the installed package as a stranger would: write a dataset, promote it, read it back.

``python round_trip.py REPOSITORY PYTHON``, from a folder outside of it. The second is the Python of an environment
with atdata-core alone, which reads what is published.
"""

from __future__ import annotations

import importlib.resources
import os
import platform
import subprocess
import sys
import sysconfig
import warnings
from pathlib import Path

import numpy as np
import webdataset as wds
from atdata.atmosphere import AtmosphereClient, AtmosphereIndex
from atdata.local import LocalIndex, Repo, S3DataStore
from atdata.promote import promote_to_atmosphere
from numpy.typing import NDArray

import atdata
from atdata_pipelines.sandbox import Sandbox


@atdata.packable
class Point:
    """A sample with an array and a number."""

    position: NDArray
    label: int


def check_files(repository: Path) -> None:
    """The package lies outside of the repository and has its data with it."""
    for package, data in {
        "atdata_core": ["py.typed", "atmosphere/lexicons"],
        "atdata_pipelines": ["py.typed", "defs/promotion/defs.yaml"],
    }.items():
        folder = Path(str(importlib.resources.files(package)))
        assert repository not in folder.parents, f"{package} is imported from the repository"
        for name in data:
            assert (folder / name).exists(), f"the wheel lacks {package}/{name}"
    assert list((Path(str(importlib.resources.files("atdata_core"))) / "atmosphere/lexicons").glob("*.json"))


def check_promotion(core_python: str) -> str:
    """Ten samples, from memory to a published record and back; the at-uri."""
    with Sandbox(buckets=["datasets-bucket", "public"]) as box:
        os.environ.update(box.environ())
        samples = [Point(position=np.full(3, i, np.float32), label=i) for i in range(10)]
        with wds.writer.TarWriter("points.tar") as sink:
            for i, sample in enumerate(samples):
                sink.write({**sample.as_wds, "__key__": f"{i:06d}"})
        repo = Repo(s3_credentials=box.s3, hive_path="datasets-bucket/points")
        entry, _ = repo.insert(atdata.Dataset[Point]("points.tar"), name="points")
        index = LocalIndex()
        # The class of a script; the library says that this is no good name for the network.
        warnings.filterwarnings("ignore", "Point is defined in __main__")
        index.publish_schema(Point, version="1.0.0")
        client = AtmosphereClient()
        client.login(box.handle, box.password)
        store = S3DataStore(box.s3, bucket="public", public_url=f"{box.public_url}/public")
        uri = promote_to_atmosphere(entry, index, client, data_store=store)
        assert promote_to_atmosphere(entry, index, client, data_store=store) == uri
        published = AtmosphereIndex(client).get_dataset(uri)
        assert published.name == "points", published.name
        read = list(atdata.Dataset[Point]("points.tar").ordered())
        assert [sample.label for sample in read] == list(range(10))
        assert all((sample.position == sample.label).all() for sample in read)
        known = ("ATDATA_PDS_URL", "ATDATA_PLC_URL", "ATDATA_ALLOW_PRIVATE")
        anonymous = {name: value for name, value in os.environ.items() if name in (*known, "PATH", "HOME")}
        alone = [core_python, Path(__file__).with_name("core_alone.py"), uri, f"@{box.handle}/points"]
        subprocess.run(alone, env=anonymous, check=True)
        return uri


def main() -> None:
    """All checks; an exception where one fails."""
    check_files(Path(sys.argv[1]).resolve())
    command = Path(sysconfig.get_path("scripts")) / "atdata-pipelines"
    subprocess.run([command, "--help"], check=True, capture_output=True)
    print(f"Python {platform.python_version()}: the wheels work, {check_promotion(sys.argv[2])}")


if __name__ == "__main__":
    main()
