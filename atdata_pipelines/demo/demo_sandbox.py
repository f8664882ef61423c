"""The sandbox of a first run, and the digits in it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import atdata_core as atdata
from atdata_core.errors import EntryNotFoundError
from atdata_core.local import LocalDatasetEntry, LocalIndex, Repo
from atdata_core.samples.metadata import pack
from atdata_pipelines.config.dagster_instance import prepare_home
from atdata_pipelines.sandbox import Sandbox

from .digits import METADATA, NAME, SAMPLES_PER_SHARD, Digit, write_shards

FOLDER = ".sandbox"
LAB, PUBLIC = "lab", "public"


@contextmanager
def sandbox() -> Iterator[Sandbox]:
    """The sandbox in ``.sandbox/``, its variables set, DAGSTER_HOME in it.

    Shards are published as copies in a bucket that anybody can read, as a lab would do it. Settings of the
    shell are put aside: they may name the real network.
    """
    for name in [name for name in os.environ if name.startswith(("ATDATA_", "AWS_"))]:
        del os.environ[name]
    with Sandbox(FOLDER, buckets=(LAB, PUBLIC)) as box:
        os.environ.update(box.environ())
        os.environ["ATDATA_PUBLISH_BUCKET"] = PUBLIC
        os.environ["ATDATA_PUBLISH_PUBLIC_URL"] = f"{box.public_url}/{PUBLIC}"
        os.environ["DAGSTER_HOME"] = str(prepare_home(Path(FOLDER, "dagster_home")))
        yield box


def store_digits(box: Sandbox) -> tuple[LocalDatasetEntry, bool]:
    """The digits in the lab's index, and whether they were put there now."""
    index = LocalIndex()
    try:
        return index.get_entry_by_name(NAME), False
    except EntryNotFoundError:
        pass
    index.publish_schema(Digit, version="1.0.0")
    with TemporaryDirectory() as folder:
        about = Path(folder, "metadata.msgpack")
        about.write_bytes(pack(METADATA))
        dataset = atdata.Dataset[Digit](write_shards(Path(folder)), metadata_url=str(about))
        repo = Repo(s3_credentials=box.s3, hive_path=f"{LAB}/{NAME}", redis=index.redis)
        return repo.insert(dataset, name=NAME, maxcount=SAMPLES_PER_SHARD)[0], True
