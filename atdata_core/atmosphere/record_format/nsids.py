"""The names of the collections and types that this library reads and writes."""

from __future__ import annotations

from typing import Final

NAMESPACE: Final = "science.alt.dataset"
SCHEMA: Final = f"{NAMESPACE}.schema"
ENTRY: Final = f"{NAMESPACE}.entry"
LABEL: Final = f"{NAMESPACE}.label"
JSON_SCHEMA_FORMAT: Final = f"{SCHEMA}#jsonSchemaFormat"
STORAGE_HTTP: Final = f"{NAMESPACE}.storageHttp"
STORAGE_S3: Final = f"{NAMESPACE}.storageS3"

# Collections of the package atdata up to 0.2: read, never written.
OLD_NAMESPACE: Final = "ac.foundation.dataset"
OLD_SCHEMA: Final = f"{OLD_NAMESPACE}.sampleSchema"
OLD_ENTRY: Final = f"{OLD_NAMESPACE}.record"
