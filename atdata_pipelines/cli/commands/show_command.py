"""``atdata-pipelines show``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import click

from atdata_core.common.names import is_published
from atdata_core.common.plurals import number_of
from atdata_core.common.urls import displayed, expand
from atdata_core.samples.described_fields import type_name

from ...display.markdown import whole
from .. import context
from ..command import Output, command, json_option

SHARDS = 10
"""URLs of shards that a person is shown."""


@command("show cells", "show @lab.example.org/cells", going_on="Run it again:")
@click.argument("dataset", metavar="NAME | @HANDLE/NAME | AT_URI", shell_complete=context.complete_names)
@json_option
def show(dataset: str, output: Output) -> None:
    """Show what a dataset is: its schema, shards and metadata, and where it is published.

    NAME is a dataset of the index. @HANDLE/NAME and AT_URI are published ones, which anybody can look at: no Redis,
    no login and no keys are needed.
    """
    with context.said():
        facts = _published(dataset) if is_published(dataset) else _local(dataset)
    output.result(facts, *_lines(facts))


def _local(name: str) -> dict[str, Any]:
    from atdata_core.errors import SchemaNotFoundError
    from atdata_core.state.facts import RESULTS

    index = context.index()
    entry = context.entry(name, index)
    try:
        fields = _fields(index.get_schema(entry.schema_ref))
    except SchemaNotFoundError:
        fields = None
    claims = index.shard_claims(entry.cid)
    urls = expand(entry.data_urls) if entry.data_urls else []
    known = [claims[url] for url in urls if url in claims]
    all_known = len(known) == len(urls)
    counts = [claim.samples for claim in known]
    found = context.ledger().get_all("dataset", entry.name)
    return {
        "name": entry.name,
        "cid": entry.cid,
        "schema": entry.schema_ref,
        "fields": fields,
        "shards": len(urls),
        "size": sum(claim.size for claim in known) if all_known else None,
        "samples": sum(count or 0 for count in counts) if all_known and None not in counts else None,
        "data_urls": [displayed(url) for url in urls],
        "metadata": entry.metadata,
        "registered_at": context.time_of(entry.registered_at),
        "published": sorted({result.uri for _, result in found.of(*RESULTS)}),
    }


def _published(named: str) -> dict[str, Any]:
    from atdata_core.atmosphere import AtmosphereClient, AtmosphereIndex
    from atdata_core.atmosphere.receipt import receipt_of

    index = AtmosphereIndex(AtmosphereClient())
    entry = index.get_dataset(context.uri_of(named, index.client))
    receipt = receipt_of(entry.uri, index.client, cid=entry.cid, wait=0)
    return {
        "name": entry.name,
        "uri": entry.uri,
        "cid": entry.cid,
        "description": entry.description,
        "tags": entry.tags,
        "license": entry.license,
        "created_at": entry.created_at,
        "schema": entry.schema_ref,
        "fields": _fields(index.get_schema(entry.schema_ref)),
        "shards": len(entry.shards),
        "data_urls": [displayed(shard.url) for shard in entry.shards],
        "metadata": entry.metadata,
        "creators": [str(creator) for creator in entry.creators],
        **{name: getattr(entry, name) for name in ("doi", "citation", "homepage")},
        "language": list(entry.language),
        "samples": entry.samples,
        "size": entry.size,
        "receipt": receipt.said if receipt.seen is not None else None,
    }


def _fields(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": field["name"],
            "type": type_name(field["fieldType"]),
            "optional": bool(field.get("optional")),
        }
        for field in schema["fields"]
    ]


def _lines(facts: Mapping[str, Any]) -> Iterator[str]:
    yield whole(facts["name"])
    rows = [*_rows(facts)]
    width = max(len(title) for title, _ in rows)
    for title, text in rows:
        yield f"  {title:{width}}  {whole(text)}".rstrip()


def _rows(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for title in ("uri", "description", "license", "doi", "citation", "homepage"):
        if facts.get(title):
            yield title, facts[title]
    for title in ("tags", "creators", "language"):
        if facts.get(title):
            yield title, ", ".join(facts[title])
    yield from _listed("published", facts.get("published") or ())
    yield "schema", facts["schema"]
    if facts["fields"] is None:
        yield "", "not in the index yet: `add` puts it there, or index.publish_schema(SampleType, version=...)"
    fields = facts["fields"] or ()
    width = max((len(field["name"]) for field in fields), default=0)
    optional = {True: ", may be missing", False: ""}
    yield from _listed(
        "fields", [f"{each['name']:{width}}  {each['type']}{optional[each['optional']]}" for each in fields]
    )
    counts = [number_of(facts["shards"], "shard")]
    others = (("samples", "sample"), ("size", "byte"))
    counts += [number_of(facts[key], noun) for key, noun in others if facts.get(key) is not None]
    yield "data", ", ".join(counts)
    yield from (("", url) for url in facts["data_urls"][:SHARDS])
    if (more := len(facts["data_urls"]) - SHARDS) > 0:
        yield "", f"and {more:,} more"
    said = (facts["metadata"] or {}).items()
    as_text = partial(json.dumps, default=str, ensure_ascii=False)
    yield from _listed("metadata", [f"{key}: {as_text(value)}" for key, value in said])
    if facts.get("receipt"):
        yield "network", facts["receipt"]
    yield "entry", facts["cid"]
    if at := facts.get("registered_at") or facts.get("created_at"):
        yield "since", at[:16].replace("T", " ") + " UTC"


def _listed(title: str, texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    for number, text in enumerate(texts):
        yield "" if number else title, text
