"""Read a published dataset by its at-uri alone: no login, no Redis, no S3 keys.

Run as ``python -m atdata_pipelines.demo.anonymous_reader AT_URI``. It knows where the network's directory is
(``ATDATA_PLC_URL``, ``ATDATA_PDS_URL``) and nothing else.
"""

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atdata_core.atmosphere import AtmosphereClient, AtmosphereIndex


def main(uri: str) -> None:
    """Resolve the record, rebuild the sample type from the published schema, read every sample."""
    index = AtmosphereIndex(AtmosphereClient())
    entry = index.get_dataset(uri)
    print(f"      name      {entry.name}")
    print(f"      license   {entry.license}    tags {', '.join(entry.tags or [])}")
    print(f"      schema    {entry.schema_ref}")
    dataset = index.open_dataset(uri)
    fields = ", ".join(dataset.sample_type.__annotations__)
    count, first = 0, None
    for sample in dataset.ordered():
        first = first or sample
        count += 1
    print(f"      samples   {count:,} with fields {fields}; every shard has the SHA-256 that the record states")
    if first is not None:
        print(f"      the first one is labelled {first.label}:")
        print("\n".join(f"        {line}" for line in drawn(first.image).splitlines()))


def drawn(image: NDArray[Any]) -> str:
    """An image of a digit, two characters a pixel."""
    shades = " .:-=+*#%@"
    rows = (np.asarray(image, dtype=float) / 16 * (len(shades) - 1)).round().astype(int)
    return "\n".join("".join(shades[value] * 2 for value in row).rstrip() for row in rows)


if __name__ == "__main__":
    main(sys.argv[1])
