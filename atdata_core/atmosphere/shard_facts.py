"""Reading published shards once, to say in a record what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from atdata_core.common.urls import displayed, refuse_credentials, scheme
from atdata_core.errors import StorageError
from atdata_core.protocols import ShardFacts
from atdata_core.shards.shard_contents import read_facts
from atdata_core.stores.opening import open_shard

if TYPE_CHECKING:
    from atdata_core.stores.s3.objects import S3Endpoint


def survey(urls: Sequence[str], sample_type: type, *, store: object | None = None) -> list[ShardFacts]:
    """Size, SHA-256 and number of samples of each shard, every sample decoded.

    Args:
        urls: Patterns expanded.
        sample_type: What the samples are, as the schema says that the record will name.
        store: The store that they lie in, for its credentials; the environment's by default.

    Raises:
        StorageError: A path of this machine, or a credential in a URL.
        SampleError: A shard has one that is not of that type; the error names both.
        ShardMissingError, ShardForbiddenError, ShardCorruptError: A shard cannot be read.
    """
    for url in urls:
        refuse_credentials(url)
        if scheme(url) == "file":
            raise StorageError(
                f"{displayed(url)} is a path of this machine, which nobody else can read. Insert the dataset into "
                "a local index and promote it with a data store (promote_to_atmosphere(..., data_store=...)).",
                urls=[url],
            )
    return [_facts(url, sample_type, store) for url in urls]


def _facts(url: str, sample_type: type, store: object | None) -> ShardFacts:
    with open_shard(url, store=store) as stream:
        facts = read_facts(url, stream, sample_type)
    endpoint = _endpoint(store) if scheme(url) == "s3" else None
    return facts if endpoint is None else replace(facts, endpoint=endpoint.endpoint_url, region=endpoint.region)


def _endpoint(store: object | None) -> S3Endpoint | None:
    """The endpoint that ``open_shard`` used."""
    from atdata_core.stores.s3.objects import S3Endpoint

    own: Any = getattr(store, "endpoint", None)
    return own if isinstance(own, S3Endpoint) else S3Endpoint.from_environment()
