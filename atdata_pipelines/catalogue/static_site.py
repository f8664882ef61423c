"""A catalogue from beginning to end: what an account has published, as a static site."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from .places import Target, WrittenFiles, put_files
from .published_datasets import PublishedDataset, published_datasets
from .rendering import Site, files_of

if TYPE_CHECKING:
    from atdata_core.atmosphere import AtmosphereClient
    from atdata_core.common.byte_progress import Progress


class Catalogue(NamedTuple):
    """A catalogue that was put somewhere."""

    datasets: Sequence[PublishedDataset]
    changes: WrittenFiles

    @property
    def unread(self) -> list[PublishedDataset]:
        """Datasets whose page says that they, or their samples, cannot be read."""
        return [each for each in self.datasets if each.problem is not None]


def publish_catalogue(
    account: str, client: AtmosphereClient, place: Target, *, url: str | None, progress: Progress
) -> Catalogue:
    """Bring the catalogue of an account to a place; what is there already is not written again.

    Args:
        account: Handle or DID.
        client: Logged in or not.
        place: A folder or bucket.
        url: Where that will be read; without it there is no sitemap.
        progress: Told after each dataset that was read.

    Raises:
        RecordNotFoundError: There is no such account.
        ServiceError: The account's records cannot be listed, or the bucket not written; what was there stays.
        StorageError: The place holds something else, or is no folder.
    """
    did = client.did_of(account)
    datasets = published_datasets(client, did, progress)
    site = Site(client.handle_of(did) or did, did, None if url is None else url.rstrip("/"))
    return Catalogue(datasets, put_files(dict(files_of(site, datasets)), place))
