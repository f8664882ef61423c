"""``atdata-pipelines pull``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from atdata_core.common.names import quoted
from atdata_core.common.plurals import number_of
from atdata_core.errors import PullError

from ....display.markdown import whole
from ....display.progress import size_of
from ... import context
from ...command import FAILED, Output, command, json_option, note
from ...screen import progress_of

if TYPE_CHECKING:
    from atdata_core.reading import Pulled

    from ....display.sample_files import SampleFiles

SAMPLES = "samples"
"""The folder of the samples as files, in that of the shards."""


@command(
    "pull @lab.example.org/cells cells",
    going_on="What came stays. Run it again, and it goes on where it stopped:",
)
@click.argument("where", metavar="@HANDLE/NAME | AT_URI")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--samples", is_flag=True, help=f"Write the samples as files, too: FOLDER/{SAMPLES}/SHARD.parquet.")
@json_option
def pull(where: str, folder: Path, samples: bool, output: Output) -> None:
    """Bring the shards of a published dataset into a folder.

    Several come side by side. A file gets its name once its bytes have the SHA-256 that the record gives; until
    then it is NAME.part, and goes on from there after a break, where its server gives parts. Run again, nothing is
    fetched that is there; a file that has changed since is fetched again. Files that were not pulled are never
    touched.

    With --samples each shard also becomes a table, FOLDER/samples/SHARD.parquet, with a row for each sample.
    Pictures are files, FOLDER/samples/SHARD/FIELD/KEY.png, whose paths stand in the table. It needs pyarrow: pip
    install 'atdata-core[arrow]'.
    """
    from atdata_core.reading import pull as bring

    if samples:
        _check_arrow()
    files: list[SampleFiles] = []
    with context.said():
        try:
            found = bring(where, folder, progress=progress_of(f"shards of {where}"))
            if samples:
                files = _files(found)
        except PullError as error:
            _failed(where, error, output)
            sys.exit(FAILED)
    told = _facts(found)
    if samples:
        told["samples"] = [{**asdict(each), "table": str(each.table)} for each in files]
    output.result(told, _line(found), *_lines(files))
    unchecked = sum(not shard.checked for shard in found.shards)
    if unchecked:
        note(f"The record gives no digest of {number_of(unchecked, 'shard')}, which could not be checked.")
    for field in dict.fromkeys(field for each in files for field in each.left_out):
        note(f"The field {quoted(field)} is not in every table: it has values that Parquet cannot hold.")
    left = [*found.left, *(_tables_left(found, files) if samples else [])]
    if left:
        names = ", ".join(path.name for path in left[:3])
        more = f" and {len(left) - 3:,} more" if len(left) > 3 else ""
        note(f"Of an earlier version, and none of its shards now: {names}{more}. Remove what you do not need.")


def _check_arrow() -> None:
    from ....display.sample_files import arrow

    try:
        arrow()
    except ImportError as error:
        raise click.ClickException(error.msg) from None


def _files(found: Pulled) -> list[SampleFiles]:
    from atdata_core.reading import load_dataset

    from ....display.sample_files import sample_files

    # Nothing of it is read: the schema's class is wanted.
    sample_type = load_dataset(found.uri).sample_type
    progress = progress_of(f"shards of {found.name} as files")
    return sample_files(found.shards, found.dataset, sample_type, found.folder / SAMPLES, progress)


def _tables_left(found: Pulled, files: Sequence[SampleFiles]) -> list[Path]:
    from ....display.sample_files import tables_left

    return tables_left(found.folder / SAMPLES, found.dataset, files)


def _facts(found: Pulled) -> dict[str, Any]:
    return {
        "name": found.name,
        "uri": found.uri,
        "folder": str(found.folder),
        "fetched": sum(shard.fetched for shard in found.shards),
        "shards": [
            {
                "file": str(shard.path),
                "url": shard.url,
                "size": shard.size,
                "sha256": shard.sha256,
                "checked": shard.checked,
                "fetched": shard.fetched,
            }
            for shard in found.shards
        ],
        "left": [str(path) for path in found.left],
    }


def _line(found: Pulled) -> str:
    size, fetched = (sum(getattr(shard, name) for shard in found.shards) for name in ("size", "fetched"))
    came = f"{size_of(fetched)} fetched" if fetched else "all there, nothing fetched"
    count = number_of(len(found.shards), "shard")
    return f"{found.folder}: {count} of {whole(found.name)}, {size_of(size)}, {came} {found.uri}"


def _lines(files: Sequence[SampleFiles]) -> list[str]:
    if not files:
        return []
    samples, pictures = (sum(getattr(each, name) for each in files) for name in ("samples", "pictures"))
    tables, count = number_of(len(files), "table"), number_of(samples, "sample")
    return [f"{files[0].table.parent}: {count} in {tables}, {number_of(pictures, 'picture')}"]


def _failed(where: str, error: PullError, output: Output) -> None:
    failed: dict[str, str] = error.facts.get("failed", {})
    note(f"Error: {error.message}")
    lines = [f"  {why}" for why in failed.values()] if len(failed) > 1 else []
    output.result({"name": where, "error": error.message, "failed": failed}, *lines)
