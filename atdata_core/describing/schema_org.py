"""A dataset as JSON-LD of https://schema.org/Dataset, which search engines read in the head of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..common.citation import doi_address

if TYPE_CHECKING:
    from ..common.citation import Creator
    from .description import DatasetDescription

TAR = "application/x-tar"
FULL = 5_000
"""Characters of a description: https://developers.google.com/search/docs/appearance/structured-data/dataset."""


def schema_org(description: DatasetDescription) -> dict[str, Any]:
    """The JSON-LD of a dataset.

    What is not known is left out. In a page it stands in ``<script type="application/ld+json">``, each ``<`` in it
    as an escape of JSON.
    """
    context = {"@context": "https://schema.org/", "@type": "Dataset"}
    return {**context, **about(description), **_distribution(description)}


def about(description: DatasetDescription) -> dict[str, Any]:
    """What schema.org and Croissant say of a dataset in the same words."""
    doi = None if description.doi is None else doi_address(description.doi)
    said = {
        "@id": description.uri,
        "name": description.name,
        "description": description.summary[:FULL],
        "identifier": [identifier for identifier in (doi, description.uri) if identifier],
        "url": description.homepage or doi,
        "sameAs": doi if description.homepage else None,
        "license": description.license_address or description.license,
        "keywords": list(description.keywords),
        "creator": [_creator(creator) for creator in description.creators],
        "publisher": _account(description),
        "inLanguage": list(description.language),
        "datePublished": description.published and description.published.isoformat(),
        "version": description.version,
    }
    return {key: value for key, value in said.items() if value}


def _distribution(description: DatasetDescription) -> dict[str, Any]:
    said = {
        "isAccessibleForFree": True,
        "citation": description.citation,
        "distribution": [
            {
                "@type": "DataDownload",
                "name": shard.name,
                "contentUrl": shard.address,
                "encodingFormat": TAR,
                **({} if shard.size is None else {"contentSize": f"{shard.size} B"}),
                **({} if shard.sha256 is None else {"sha256": shard.sha256}),
            }
            for shard in description.shards
        ],
        "variableMeasured": [
            {
                "@type": "PropertyValue",
                "name": field.name,
                **({"description": field.description} if field.description else {}),
            }
            for field in description.fields
        ],
    }
    return {key: value for key, value in said.items() if value}


def _creator(creator: Creator) -> dict[str, Any]:
    """Only people have an ORCID iD; nobody said of other names what they are, and validators want a type."""
    return {
        "@type": "Person" if creator.orcid else ["Person", "Organization"],
        "name": creator.name,
        **({"@id": creator.address, "url": creator.address} if creator.orcid else {}),
        **({"identifier": creator.did} if creator.did else {}),
    }


def _account(description: DatasetDescription) -> dict[str, Any]:
    return {"@type": "Organization", "name": description.handle or description.did, "identifier": description.did}
