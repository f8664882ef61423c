"""``atdata-pipelines pull``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from atdata_core.common.plurals import number_of
from atdata_core.errors import PullError

from ....display.markdown import whole
from ....display.progress import size_of
from ... import context
from ...command import FAILED, Output, command, json_option, note
from ...screen import progress_of

if TYPE_CHECKING:
    from atdata_core.reading import Pulled


@command(
    "pull @lab.example.org/cells cells",
    going_on="What came stays. Run it again, and it goes on where it stopped:",
)
@click.argument("where", metavar="@HANDLE/NAME | AT_URI")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@json_option
def pull(where: str, folder: Path, output: Output) -> None:
    """Bring the shards of a published dataset into a folder.

    Several come side by side. A file gets its name once its bytes have the SHA-256 that the record gives; until
    then it is NAME.part, and goes on from there after a break, where its server gives parts. Run again, nothing is
    fetched that is there; a file that has changed since is fetched again. Files that were not pulled are never
    touched.
    """
    from atdata_core.reading import pull as bring

    with context.said():
        try:
            found = bring(where, folder, progress=progress_of(f"shards of {where}"))
        except PullError as error:
            _failed(where, error, output)
            sys.exit(FAILED)
    output.result(_facts(found), _line(found))
    unchecked = sum(not shard.checked for shard in found.shards)
    if unchecked:
        note(f"The record gives no digest of {number_of(unchecked, 'shard')}, which could not be checked.")
    if found.left:
        names = ", ".join(path.name for path in found.left[:3])
        more = f" and {len(found.left) - 3:,} more" if len(found.left) > 3 else ""
        note(f"Of an earlier version, and none of its shards now: {names}{more}. Remove what you do not need.")


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


def _failed(where: str, error: PullError, output: Output) -> None:
    failed: dict[str, str] = error.facts.get("failed", {})
    note(f"Error: {error.message}")
    lines = [f"  {why}" for why in failed.values()] if len(failed) > 1 else []
    output.result({"name": where, "error": error.message, "failed": failed}, *lines)
