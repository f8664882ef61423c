"""``atdata-pipelines catalogue``."""

from __future__ import annotations

from pathlib import Path

import click

from atdata_core.common.plurals import number_of

from ....display.markdown import whole
from ... import context
from ...command import Output, command, json_option, note
from ...screen import progress_of


@command("catalogue site", "catalogue site --account lab.example.org")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--account", metavar="HANDLE", help="Whose datasets; ATDATA_HANDLE where it is not given.")
@click.option("--url", help="Where the site will be read: a sitemap and a feed's links need it.")
@json_option
def catalogue(folder: Path, account: str | None, url: str | None, output: Output) -> None:
    """Write a static site of the datasets of an account: an index, a page each, a feed.

    Anybody can: no login and no keys are needed. The pages hold no script and fetch nothing from elsewhere; any web
    server or a disk will do. The beginning of each dataset's first shard is read, for pictures and a few samples.

    Only what changed is written, and pages of datasets that are published no more are removed. Of a dataset that
    cannot be read the page says why.
    """
    from atdata_core.atmosphere import AtmosphereClient

    from ....catalogue import Folder, is_web, publish_catalogue
    from ....config import environment

    if url is not None and not is_web(url):
        raise click.BadParameter("Give an address such as https://lab.example.org/data.", param_hint="--url")
    with context.said():
        made = publish_catalogue(
            environment.handle(account),
            AtmosphereClient(),
            Folder(folder),
            url=url,
            progress=progress_of("datasets read"),
        )
    for each in made.unread:
        note(whole(f"{each.name}: {each.problem}"))
    changes = made.changes
    facts = {
        "folder": str(folder),
        "datasets": len(made.datasets),
        "unread": [each.uri for each in made.unread],
        "written": changes.written,
        "removed": changes.removed,
        "unchanged": changes.unchanged,
    }
    output.result(
        facts,
        f"{folder / 'index.html'}: {number_of(len(made.datasets), 'dataset')}, "
        f"{number_of(changes.written, 'file')} written, {changes.removed:,} removed, "
        f"{changes.unchanged:,} as they were",
    )
