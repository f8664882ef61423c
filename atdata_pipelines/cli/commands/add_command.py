"""``atdata-pipelines add``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from atdata_core.common.byte_progress import ByteProgress, counted
from atdata_core.common.plurals import number_of
from atdata_core.common.urls import expand, literal
from atdata_core.errors import AtdataError

from .. import context
from ..command import PROGRAM, Output, command, json_option, note
from ..screen import progress_of

if TYPE_CHECKING:
    from atdata_core.local import Repo


@command(
    "add cells shards/ --type lab.samples:Cell --to bucket/path",
    "add cells a.tar b.tar --type lab.samples:Cell",
    going_on="Nothing was added to the index. Run it again:",
)
@click.argument("name")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--type",
    "sample_type",
    required=True,
    metavar="MODULE:CLASS",
    help="The samples' type: a class made with @atdata.packable, in a module of this folder or of an installed "
    "package.",
)
@click.option(
    "--to",
    "place",
    envvar="ATDATA_BUCKET",
    show_envvar=True,
    required=True,
    metavar="BUCKET[/PATH]",
    help="Where the shards go in S3.",
)
@json_option
def add(name: str, paths: tuple[Path, ...], sample_type: str, place: str, output: Output) -> None:
    """Store tars as the dataset NAME: its shards in S3, its entry and schema in the index.

    PATHS are tars, or folders of tars, which are taken in the order of their names. Each sample in them is a
    file KEY.msgpack, as atdata's ShardWriter and as_wds write it from a class made with @atdata.packable; tars of
    plain files (KEY.jpg beside KEY.json) must be written as such samples first: the tutorial shows how. Every
    sample is read and checked to be of the type; it keeps its key, and the files beside it.

    The samples are written into new shards of up to 10,000 samples and 1 GiB, however many tars there were.
    Nothing is published by this: promote NAME afterwards. A name that is there already gets these data as its
    newest entry.
    """
    tars = _tars(paths)
    kind = _imported(sample_type)
    with context.said():
        repo = _repo(place)
        progress = progress_of("tars stored")
        dataset: Any = _dataset_of(kind, tars, progress)
        entry, _ = repo.insert(dataset, name=name)
        progress(len(tars), len(tars))
        ref = _publish_schema(repo, entry.schema_ref, kind)
        claims = repo.index.shard_claims(entry.cid)
    urls = expand(entry.data_urls)
    size = sum(claims[url].size for url in urls)
    samples = sum(claims[url].samples or 0 for url in urls)
    counts = ", ".join(number_of(*each) for each in ((len(urls), "shard"), (samples, "sample"), (size, "byte")))
    facts = {"name": name, "cid": entry.cid, "schema": ref, "data_urls": entry.data_urls}
    output.result(
        {**facts, "shards": len(urls), "samples": samples, "size": size},
        f"{name}: added {counts}{f', out of {len(tars)} tars' if len(tars) != len(urls) else ''}",
        f"  {entry.data_urls[0]}",
    )
    note(f"Publish it: {context.promotion_of(name)}")


def _tars(paths: Sequence[Path]) -> list[Path]:
    tars: list[Path] = []
    for path in paths:
        found = sorted(path.glob("*.tar")) if path.is_dir() else [path]
        if not found:
            raise click.UsageError(f"There is no tar (*.tar) in the folder {path}.")
        tars += found
    return tars


def _imported(name: str) -> type:
    """The class that ``module:Class`` names; the working directory counts as a place for modules."""
    module, colon, qualified = name.partition(":")
    if not (module and colon and qualified):
        raise click.UsageError(f"--type {name} names no class. Write MODULE:CLASS, such as lab.samples:Cell.")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:
        why = error if isinstance(error, ImportError) else f"{type(error).__name__}: {error}"
        raise click.UsageError(f"--type {name}: {module} cannot be imported ({why}).") from None
    for part in qualified.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type):
        raise click.UsageError(f"--type {name}: {module} has no class {qualified}.")
    return found


def _dataset_of(kind: Any, tars: Sequence[Path], progress: ByteProgress) -> Any:
    from atdata_core.shards.dataset import Dataset

    return Dataset[kind]([literal(str(path.resolve())) for path in tars], data_store=_Tars(progress, len(tars)))


class _Tars:
    """Opens the tars that are stored, and tells of their bytes."""

    def __init__(self, progress: ByteProgress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._opened = 0

    def open_shard(self, url: str) -> BinaryIO:
        from atdata_core.stores.opening import open_shard, stat_shard

        self._progress(self._opened, self._total)
        self._opened += 1
        return counted(open_shard(url), url, stat_shard(url).size, self._progress)


def _repo(place: str) -> Repo:
    from atdata_core.local import Repo

    from ...config.shard_s3 import ShardS3

    endpoint = ShardS3().endpoint()
    if endpoint is None:
        raise click.ClickException(
            "No S3 service is configured: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and ATDATA_S3_ENDPOINT "
            f"where it is not AWS itself. `{PROGRAM} doctor` looks at all of it."
        )
    credentials: Any = endpoint
    return Repo(s3_credentials=credentials, hive_path=place, redis=context.index().redis)


def _publish_schema(repo: Repo, ref: str, kind: type) -> str:
    """Keep the schema beside the entry, where the index has it not; its reference."""
    try:
        repo.index.get_schema(ref)
    except AtdataError:
        return repo.index.publish_schema(kind, version=ref.rpartition("@")[2])
    return ref
