"""``atdata-pipelines preview``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import click

from atdata_core.common.names import file_name, is_published
from atdata_core.common.urls import displayed
from atdata_core.samples.described_fields import type_name

from ...display.markdown import whole
from .. import context
from ..command import Output, command, json_option


class _Shard(NamedTuple):
    """The first shard of a dataset, opened, and the schema of its samples."""

    url: str
    stream: BinaryIO
    schema: Mapping[str, Any]


@command("preview cells", "preview @lab.example.org/cells --pictures look", going_on="Run it again:")
@click.argument("dataset", metavar="NAME | @HANDLE/NAME | AT_URI", shell_complete=context.complete_names)
@click.option(
    "--pictures",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for a picture (PNG) of each field that can be seen. NAME-preview where it is not given.",
)
@json_option
def preview(dataset: str, pictures: Path | None, output: Output) -> None:
    """Have a first look at a dataset: fields, shapes, the first samples, pictures as files.

    Reads the beginning of the first shard. NAME is a dataset of the index; @HANDLE/NAME and AT_URI are published
    ones, which anybody can look at.
    """
    from atdata_core.samples.schema import decode

    from ...display.previews import Tally, read_some, shapes, text_of

    with context.said():
        url, stream, schema = _published(dataset) if is_published(dataset) else _local(dataset)
        with closing(stream):
            samples = read_some(stream, url, decode(schema), Tally(()))
    names = [field["name"] for field in schema["fields"]]
    seen = shapes([sample for _, sample in samples], names)
    fields = [
        {"name": field["name"], "type": type_name(field["fieldType"]), "shape": seen.get(field["name"])}
        for field in schema["fields"]
    ]
    told = [{"key": key, **{name: text_of(getattr(sample, name)) for name in names}} for key, sample in samples]
    folder = pictures or Path(f"{file_name(dataset.rpartition('/')[2])}-preview")
    files = _draw([sample for _, sample in samples], names, folder)
    facts = {"shard": displayed(url), "fields": fields, "samples": told, "pictures": files}
    output.result({"name": dataset, **facts}, *_lines(facts))


def _local(name: str) -> _Shard:
    from atdata_core.promotion.copies.sources import Sources
    from atdata_core.promotion.inventory import read_schema, shard_urls

    index = context.index()
    entry = context.entry(name, index)
    url, schema = shard_urls(entry)[0], read_schema(entry, index)
    return _Shard(url, Sources(entry, index, None, index.shard_claims(entry.cid)).open_shard(url), schema)


def _published(named: str) -> _Shard:
    from atdata_core.atmosphere import AtmosphereClient, AtmosphereIndex
    from atdata_core.samples import DictSample

    index = AtmosphereIndex(AtmosphereClient())
    entry = index.get_dataset(context.uri_of(named, index.client))
    # Of the beginning of a shard no digest is known; samples are read by the schema.
    dataset: Any = index.open_dataset(entry, sample_type=DictSample, verify=False)
    url = dataset.shard_list[0]
    return _Shard(url, dataset.data_store.open_shard(url), index.get_schema(entry.schema_ref))


def _draw(samples: Sequence[Any], fields: Sequence[str], folder: Path) -> dict[str, str]:
    """A picture of each field that can be seen, of all samples side by side; the files by field."""
    from ...display.pictures import picture

    files: dict[str, str] = {}
    for field in fields:
        png = picture([getattr(sample, field) for sample in samples])
        if png is not None:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{file_name(field)}.png"
            path.write_bytes(png)
            files[field] = str(path)
    return files


def _lines(facts: Mapping[str, Any]) -> Iterator[str]:
    fields = facts["fields"]
    width = max(len(field["name"]) for field in fields)
    kinds = max(len(field["type"]) for field in fields)
    for field in fields:
        yield whole(f"{field['name']:{width}}  {field['type']:{kinds}}  {field['shape'] or ''}").rstrip()
    for sample in facts["samples"]:
        yield ""
        yield whole(sample["key"])
        yield from (f"  {whole(name):{width}}  {whole(text)}" for name, text in sample.items() if name != "key")
    if not facts["samples"]:
        yield f"{facts['shard']} has no samples."
    if facts["pictures"]:
        yield ""
        yield from (f"{whole(field)}: {path}" for field, path in facts["pictures"].items())
