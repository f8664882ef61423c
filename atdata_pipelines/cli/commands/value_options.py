"""What a person can say about a dataset when it is published, as options of commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--name", help="Publish under another name; for a single dataset."),
    click.option("--description", help='What it is; "" clears what was said before.'),
    click.option("--tag", "tags", multiple=True, callback=lambda *given: _tags(given[-1]), help=(
        'A tag; may be repeated. A single "" clears all.'
    )),
    click.option("--license", help='An SPDX identifier such as CC-BY-4.0; "" clears it.'),
    click.option("--keep-urls/--no-keep-urls", default=None, help=(
        "Publish the index's own URLs, whatever bucket is configured now or later; --no-keep-urls ends that."
    )),
    click.option("--allow-private", is_flag=True, help=(
        "Publish shards that strangers cannot read in the place of those that they can; else that is refused."
    )),
    click.option("--version", help="Make a second label of this version that stays with this entry."),
    click.option("--take-over", is_flag=True, help="Write over a record or label that was edited elsewhere."),
    click.option("--require-public", is_flag=True, help="Refuse shards that a stranger cannot read."),
    click.option("--require-license", is_flag=True, help="Refuse to publish without a license that SPDX knows."),
    click.option("--require-compatible", is_flag=True, help=(
        "Refuse a schema that breaks with the version before it, unless its own version says so."
    )),
)  # fmt: skip


def value_options(command: Command) -> Command:
    """Gives a command these options; it takes them as ``**said``, as ``PromotionConfig`` does."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


prefix_option = click.option(
    "--key-prefix", help="Of the component that is meant, such as lab/images, where a project has several."
)


def _tags(given: Sequence[str]) -> list[str] | None:
    return [tag for tag in given if tag] if given else None
