"""The formats in which a dataset is exported, by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .bibtex import bibtex
from .croissant import croissant
from .datacite import datacite
from .readme import readme
from .schema_org import schema_org

if TYPE_CHECKING:
    from .description import DatasetDescription


def _as_json(build: Callable[[DatasetDescription], dict[str, Any]]) -> Callable[[DatasetDescription], str]:
    return lambda description: json.dumps(build(description), indent=2, ensure_ascii=False) + "\n"


FORMATS: dict[str, Callable[[DatasetDescription], str]] = {
    "croissant": _as_json(croissant),
    "schema.org": _as_json(schema_org),
    "bibtex": bibtex,
    "datacite": _as_json(datacite),
    "readme": readme,
}
"""What makes the text of a format from a description; each text ends with a line of its own."""
