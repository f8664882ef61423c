"""A dataset as DataCite wants it for a DOI: https://datacite-metadata-schema.readthedocs.io/en/4.6/."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..common.licenses import license_id
from .schema_org import TAR

if TYPE_CHECKING:
    from ..common.citation import Creator
    from .description import DatasetDescription

_NONE = ":none"
"""What stands for a value that a schema needs and nobody gave."""


def datacite(description: DatasetDescription) -> dict[str, Any]:
    """The DataCite JSON of a dataset, of metadata version 4.6."""
    account = description.handle or description.did
    day = "" if description.published is None else description.published.date().isoformat()
    size = [f"{description.bytes} bytes"] if description.bytes is not None else []
    said = {
        "types": {"resourceTypeGeneral": "Dataset", "resourceType": "Dataset"},
        "doi": description.doi,
        "creators": [_creator(creator) for creator in description.creators]
        or [{"name": account, "nameType": "Organizational"}],
        "titles": [{"title": description.name}],
        "publisher": {"name": account},
        "publicationYear": day[:4] or _NONE,
        "subjects": [{"subject": keyword} for keyword in description.keywords],
        "dates": [{"date": day, "dateType": "Issued"}] if day else [],
        "language": next(iter(description.language), None),
        "alternateIdentifiers": [{"alternateIdentifier": description.uri, "alternateIdentifierType": "AT URI"}],
        "sizes": [*size, *([] if description.samples is None else [f"{description.samples} samples"])],
        "formats": [TAR],
        "version": description.version,
        "rightsList": _rights(description),
        "descriptions": [
            {"description": text, "descriptionType": kind}
            for text, kind in ((description.summary, "Abstract"), (description.citation, "Other"))
            if text
        ],
        "url": description.homepage,
        "schemaVersion": "http://datacite.org/schema/kernel-4",
    }
    return {key: value for key, value in said.items() if value}


def _creator(creator: Creator) -> dict[str, Any]:
    idents: list[dict[str, str]] = []
    if creator.orcid:
        orcid = {"nameIdentifierScheme": "ORCID", "schemeUri": "https://orcid.org"}
        idents.append({"nameIdentifier": f"https://orcid.org/{creator.orcid}", **orcid})
    if creator.did:
        idents.append({"nameIdentifier": creator.did, "nameIdentifierScheme": "DID"})
    return {"name": creator.name, **({"nameIdentifiers": idents} if idents else {})}


def _rights(description: DatasetDescription) -> list[dict[str, str]]:
    if description.license is None:
        return []
    spdx, address = license_id(description.license), description.license_address
    known = {"rightsIdentifier": spdx, "rightsIdentifierScheme": "SPDX", "schemeUri": "https://spdx.org/licenses/"}
    return [
        {
            "rights": spdx or description.license,
            **({"rightsUri": address} if address else {}),
            **({key: value for key, value in known.items() if value} if spdx else {}),
        }
    ]
