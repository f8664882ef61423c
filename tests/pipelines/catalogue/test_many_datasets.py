"""The catalogue of an account with many datasets: in a minute, in pages that a phone loads."""

import time

import numpy as np
import pytest
from numpy.typing import NDArray

import atdata_core as atdata
from web_pages import broken_links, page_at

DATASETS = 500
SECONDS = 60
LARGEST = 500_000


@atdata.packable
class Photograph:
    """A photograph, and what is known of it.

    Attributes:
        pixels: Red, green and blue.
        spectrum: Of its brightness.
        place: Where it was taken.
        label: Of what is seen.
    """

    pixels: NDArray[np.uint8]
    spectrum: NDArray[np.float32]
    place: str
    label: int


def photographs(seed):
    rng = np.random.default_rng(seed)
    across, down = np.ogrid[0:6:48j, 0:6:48j]
    for number in range(8):
        waves = [np.sin(across * k + seed) + np.cos(down * j) for k, j in rng.uniform(0.2, 2, (3, 2))]
        pixels = np.stack(waves, axis=2) * 60 + 128
        spectrum = np.cumsum(rng.normal(size=64)).astype(np.float32)
        place = f"Lisboa, São Bento {number}"
        yield Photograph(pixels=pixels.astype(np.uint8), spectrum=spectrum, place=place, label=number % 4)


# 500 shards are written, and their beginnings read.
@pytest.mark.slow
def test_the_catalogue_of_500_datasets_is_built_in_a_minute(shelf, site):
    schema = shelf.schema(Photograph)
    shelf.publish(
        shelf.record(
            f"survey/{number:03d}-{['harbour', 'meadow', 'street', 'sky'][number % 4]}",
            [shelf.shard(list(photographs(number)))],
            schema,
            description="Photographs that were taken on a walk through the city, all with one camera. " * 3,
            tags=["photographs", f"walk {number // 50}", ["harbour", "meadow", "street", "sky"][number % 4]],
            license="CC-BY-4.0",
            created_at=f"2026-01-{number % 28 + 1:02d}T00:00:00Z",
        )
        for number in range(DATASETS)
    )
    began, worked = time.monotonic(), time.process_time()
    made = site()
    took, worked = time.monotonic() - began, time.process_time() - worked
    print(f"{took:.1f} s, {worked:.1f} s of them at work")
    assert len(made.datasets) == DATASETS
    assert made.unread == []
    # Its own work: what it waits for beside other tests is theirs.
    assert worked < SECONDS
    sizes = {path: path.stat().st_size for path in site.folder.rglob("*") if path.is_file()}
    assert max(sizes.values()) < LARGEST
    assert len(page_at(site.folder / "index.html").one("ul", **{"class": "datasets"}).text) > 100
    named = [
        str(each)
        for path in sorted(site.folder.glob("index.html")) + sorted(site.folder.glob("page-*.html"))
        for each in page_at(path).all("h2")
        if str(each) != "By tag"
    ]
    assert named == sorted(named)
    assert len(named) == DATASETS
    assert broken_links(site.folder) == []
    print(
        f"{took:.1f} s, largest {max(sizes.values()):,} bytes, {len(sizes):,} files, {sum(sizes.values()):,} bytes"
    )
    began = time.monotonic()
    assert site().changes.written == 0
    print(f"again: {time.monotonic() - began:.1f} s")
