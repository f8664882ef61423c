"""Croissant 1.1 of a dataset: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html.

It promises description and integrity: each shard is a file with its SHA-256. Its record sets name the samples and
describe their fields, and do not load them: they are msgpack in tars, which Croissant has no way to reach into.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..common.names import quoted
from ..errors import RefusedError
from ..samples.arrays import shape_name
from ..samples.schema import SEMVER
from .bibtex import bibtex
from .schema_org import TAR, about

if TYPE_CHECKING:
    from ..samples.described_fields import DescribedField
    from .description import DatasetDescription

NOT_LOADED = (
    "The samples are msgpack in tar shards. Croissant has no way to read that: this record set gives the names of "
    "their files, and the record set `fields` what is in each. They are read with "
    "atdata: atdata.load_dataset({where!r})."
)
FILES = "sample-files"
"""The files in all shards. It and the record sets are named without a slash, each shard with one."""
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{
        name: f"cr:{name}"
        for name in (
            "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject",
            "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5",
            "parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate",
            "separator", "source", "subField", "transform",
        )
    },
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}  # fmt: skip
"""As the specification has it; a reader warns of another one."""


def croissant(description: DatasetDescription) -> dict[str, Any]:
    """The Croissant of a dataset, as a JSON object.

    Raises:
        RefusedError: The record tells no SHA-256 of a shard, and Croissant has no file without a checksum.
    """
    if bare := next((shard for shard in description.shards if shard.sha256 is None), None):
        raise RefusedError(
            f"{quoted(description.name)} cannot be described as Croissant: its record has no SHA-256 of the shard "
            f"{quoted(bare.name)}, and Croissant wants one of each. Use another format, or ask the publisher to "
            "promote the dataset again.",
            name=description.name,
        )
    shards = {f"shard/{number:06d}": shard for number, shard in enumerate(description.shards)}
    said = about(description)
    said.pop("version", None)
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        **said,
        "citeAs": description.citation or bibtex(description),
        **version_of(description),
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": ident,
                "name": shard.name,
                "contentUrl": shard.address,
                "encodingFormat": TAR,
                **({} if shard.size is None else {"contentSize": f"{shard.size} B"}),
                "sha256": shard.sha256,
            }
            for ident, shard in shards.items()
        ]
        + [
            {
                "@type": "cr:FileSet",
                "@id": FILES,
                "name": FILES,
                "containedIn": [{"@id": ident} for ident in shards],
                "encodingFormat": "application/vnd.msgpack",
                "includes": "*.msgpack",
            }
        ],
        "recordSet": _record_sets(description),
    }


def version_of(description: DatasetDescription) -> dict[str, str]:
    """The version of the label as a semantic one; else the day of the publication in that form, ``2026.11.30``."""
    plain = (description.version or "").removeprefix("v")
    if known := next((each for end in ("", ".0", ".0.0") if SEMVER.fullmatch(each := plain + end)), None):
        return {"version": known}
    day = description.published
    return {} if day is None else {"version": f"{day.year}.{day.month}.{day.day}"}


def _record_sets(description: DatasetDescription) -> list[dict[str, Any]]:
    """The samples by the names of their files, and the fields that each of them has, as a table in itself."""
    samples = {
        "@type": "cr:RecordSet",
        "@id": "samples",
        "name": "samples",
        "description": NOT_LOADED.format(where=description.where),
        "field": [
            {
                "@type": "cr:Field",
                "@id": "samples/file",
                "name": "file",
                "description": "The name of the sample's file in its shard: its key, and .msgpack.",
                "dataType": "sc:Text",
                "source": {"fileSet": {"@id": FILES}, "extract": {"fileProperty": "filename"}},
            }
        ],
    }
    if not description.fields:
        return [samples]
    columns = {
        "name": "As the sample type has it.",
        "type": "Of its values; of an array the dtype and, where it is known, the shape.",
        "description": "What it is.",
    }
    fields = {
        "@type": "cr:RecordSet",
        "@id": "fields",
        "name": "fields",
        "description": "The fields of each sample, in the order of its type.",
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"fields/{name}",
                "name": name,
                "description": said,
                "dataType": "sc:Text",
            }
            for name, said in columns.items()
        ],
        "data": [
            {f"fields/{name}": text for name, text in zip(columns, _row(field, description), strict=True)}
            for field in description.fields
        ],
    }
    return [samples, fields]


def _row(field: DescribedField, description: DatasetDescription) -> tuple[str, str, str]:
    shape = description.shapes.get(field.name)
    known = "" if shape is None or field.shape is not None else f" {shape_name(shape)}"
    optional = ", may be missing" if field.optional else ""
    return field.name, f"{field.type}{known}{optional}", field.description or ""
