"""``atdata-pipelines export``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from atdata_core.describing import FORMATS

from ... import context
from ...command import Output, command, json_option, note


@command("export @lab.example.org/cells --format readme --to README.md", going_on="Run it again:")
@click.argument("where", metavar="@HANDLE/NAME | AT_URI | NAME")
@click.option("--format", "name", type=click.Choice([*FORMATS]), required=True, help="What to write.")
@click.option(
    "--to", type=click.Path(dir_okay=False, path_type=Path), help="File to write it to, in the place of the screen."
)
@json_option
def export(where: str, name: str, to: Path | None, output: Output) -> None:
    """Describe a published dataset for other tools: search engines, catalogues, papers.

    Anybody can: no login and no keys are needed. NAME is a dataset of the account ATDATA_HANDLE.

    croissant is Croissant 1.1: it names each shard with its SHA-256, and describes the fields of the samples, which
    Croissant itself cannot load. schema.org is JSON-LD for the head of a page, bibtex an entry of a bibliography,
    datacite what a DOI is registered with, and readme a README with the head of a dataset card.
    """
    from atdata_core.atmosphere import AtmosphereClient
    from atdata_core.describing import describe

    with context.said():
        client = AtmosphereClient()
        description = describe(context.uri_of(where, client), client)
        text = FORMATS[name](description)
    if name == "croissant" and description.license is None:
        note(
            "The record has no license, of which mlcroissant validate warns. Its publisher can give it one: "
            f"atdata-pipelines promote {shlex.quote(description.name)} --license CC-BY-4.0"
        )
    if to is not None:
        to.write_text(text, encoding="utf-8")
    facts = {"uri": description.uri, "format": name, "file": None if to is None else str(to), "text": text}
    output.result(facts, *(text.splitlines() if to is None else [f"{description.where} is described in {to}."]))
