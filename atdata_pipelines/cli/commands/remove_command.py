"""``atdata-pipelines remove``."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from atdata_core.common.plurals import number_of
from atdata_core.errors import EntryNotFoundError

from .. import context
from ..command import PROGRAM, Output, command, json_option

if TYPE_CHECKING:
    from atdata_core.local import Removal


@command("remove cells", "remove cells --yes", going_on="Run it again:")
@click.argument("name", shell_complete=context.complete_names)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def remove(name: str, yes: bool, output: Output) -> None:
    """Remove the dataset NAME from the index: all its entries and its labels there.

    Shows what goes and what stays, and asks. Its shards stay where they are, and nothing is taken back that is
    published (`retract` does that). A dataset that is inserted again is there again.
    """
    from atdata_core.state.facts import published_names

    with context.said():
        index = context.index()
        try:
            found = index.removal_of(name)
        except EntryNotFoundError:
            raise context.unknown(name, index) from None
        output.line(f"{name}, {index!r}")
        for line in _told(found, published_names(context.ledger(), name)):
            output.line(f"  {line}")
        context.confirm(f"Remove {name} from the index?", yes=yes)
        gone = index.remove(name)
    output.result(
        {"name": name, "removed": gone.entries, "still_published": gone.published},
        f"{name}: removed {number_of(len(gone.entries), 'entry')}",
    )


def _told(found: Removal, names: Iterable[str]) -> Iterable[str]:
    for cid in found.entries:
        yield f"entry  {cid}"
    yield "stays  the shards, where they are"
    for uri in found.published:
        yield f"stays  {uri}"
    for published in names:
        retract = f"{PROGRAM} retract {shlex.quote(published)} --all-versions"
        yield f"stays published as {published}; to take it back: {retract}"
