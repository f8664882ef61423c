"""``atdata-pipelines retract``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from atdata_core.common.plurals import number_of

from .. import context
from ..command import Output, command, json_option, note
from ..context import prefix_option

if TYPE_CHECKING:
    from atdata_core.promotion.operations.retract import Retraction


@command(
    "retract cells",
    "retract cells --all-versions --shards",
    going_on="What is gone is gone. Run it again for the rest:",
)
@click.argument("dataset", metavar="NAME | @HANDLE/NAME | AT_URI")
@click.option("--all-versions", is_flag=True, help="The entries that the name had before, too.")
@click.option("--shards", is_flag=True, help="The copies of shards, too, that no other record names.")
@prefix_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def retract(
    dataset: str, all_versions: bool, shards: bool, key_prefix: str | None, yes: bool, output: Output
) -> None:
    """Take back what is published as NAME: its label, then its entry.

    Shows what would go and what stays, and asks. Afterwards sensor and schedules leave that dataset alone
    until it is promoted by hand, which publishes it at the same at-uri again. Others may have kept what was
    public. The schema stays, and the shards in the lab always do. @HANDLE/NAME and AT_URI have to be of the
    account in use.

    An interrupted retraction goes on when it is run again.
    """
    from atdata_core.promotion.operations.retract import plan_retraction
    from atdata_core.promotion.operations.retract import retract as run_effects

    from ..project import settings_here, settings_of

    with context.said():
        client, index, ledger = context.client(), context.index(), context.ledger()
        name = context.own_name(dataset, client)
        store = context.store(settings_of(name, settings_here(key_prefix))) if shards else None
        plan = plan_retraction(
            name, client, ledger=ledger, store=store, index=index, all_versions=all_versions, shards=shards
        )
        output.line(f"{name}, published by {client.handle}")
        for line in _told(plan):
            output.line(f"  {line}")
        context.confirm("Remove all that?", yes=yes)
        done = run_effects(plan, client, ledger, store, index=index, say=lambda step: note(f"  {step}"))
    for kept in done.kept:
        note(f"  kept {kept}")
    size = number_of(done.bytes_removed, "byte")
    copies = f", {number_of(len(done.copies), 'copy')} ({size})" if done.copies else ""
    output.result(
        {
            "name": name,
            "records": list(done.records),
            "copies": [copy.to_json() for copy in done.copies],
            "bytes_removed": done.bytes_removed,
            "kept": list(done.kept),
        },
        f"{name}: retracted {number_of(len(done.records), 'record')}{copies}",
    )
    if plan.blocks:
        again = context.promotion_of(plan.dataset, plan.name)
        note(f"Sensor and schedules leave it until: {again}")


def _told(plan: Retraction) -> Iterable[str]:
    for label in plan.labels:
        yield f"label  {label.uri}  {label.about}"
    for entry in plan.entries:
        yield f"entry  {entry.uri}  {entry.about}"
    for copy in plan.copies:
        yield f"copy   {copy.url}  {number_of(copy.size or 0, 'byte')}"
    for stays in plan.stays:
        yield f"stays  {stays}"
    yield f"{number_of(plan.bytes_to_remove, 'byte')}, {number_of(plan.write_points, 'write point')}"
