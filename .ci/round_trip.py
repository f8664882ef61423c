"""Use the installed package as a stranger would: store the digits of the demo, promote them, read them back.

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
from pathlib import Path

from atdata.atmosphere import AtmosphereClient, AtmosphereIndex
from atdata.local import LocalIndex, S3DataStore
from atdata.promote import promote_to_atmosphere

from atdata_pipelines.demo.digits import METADATA, NAME, store_digits
from atdata_pipelines.sandbox import Sandbox


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
    """The digits, from files to a published record and back; the at-uri."""
    with Sandbox(buckets=["lab", "public"]) as box:
        os.environ.update(box.environ())
        entry, _ = store_digits(box)
        client = AtmosphereClient()
        client.login(box.handle, box.password)
        store = S3DataStore(box.s3, bucket="public", public_url=f"{box.public_url}/public")
        uri = promote_to_atmosphere(entry, LocalIndex(), client, data_store=store)
        assert promote_to_atmosphere(entry, LocalIndex(), client, data_store=store) == uri
        published = AtmosphereIndex(client).get_dataset(uri)
        assert published.name == NAME, published.name
        assert published.description == METADATA["description"], published.description
        known = ("ATDATA_PDS_URL", "ATDATA_PLC_URL", "ATDATA_ALLOW_PRIVATE")
        anonymous = {name: value for name, value in os.environ.items() if name in (*known, "PATH", "HOME")}
        alone = [core_python, Path(__file__).with_name("core_alone.py"), uri, f"@{box.handle}/{NAME}"]
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
