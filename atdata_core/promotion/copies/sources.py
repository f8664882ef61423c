"""Where the bytes of an entry's shards are read from, and with whose credentials.

In order: the store that the entry carries, the index's store, the destination where it is on the same
endpoint, the environment, anonymous access. Files of this machine are read where ``access.local_files`` permits it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from ...common.urls import displayed, local_path, parse_s3, scheme
from ...errors import CredentialsError, ShardForbiddenError, ShardMissingError
from ...protocols import ShardFacts, ShardStat
from ...stores.local_files import permitted_file
from ...stores.opening import open_shard, stat_shard
from ...stores.s3.endpoints import same_service

if TYPE_CHECKING:
    from ...stores.s3.objects import S3Endpoint

T = TypeVar("T")

WAYS_OUT = (
    "Set ATDATA_S3_ENDPOINT with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "or give the index a data_store with credentials for that bucket."
)


class Sources:
    """Reads shards of one entry. ``claims`` tell at which endpoint each shard was first seen."""

    def __init__(
        self, entry: Any, index: Any, destination: Any = None, claims: Mapping[str, ShardFacts] | None = None
    ) -> None:
        self.dataset: str = entry.name
        own = (getattr(entry, "data_store", None), getattr(index, "data_store", None))
        self._stores = [store for store in own if store is not None]
        self._destination = destination
        self._claims = claims or {}
        self._answered: dict[str, S3Endpoint] = {}

    def permit(self, urls: Iterable[str]) -> None:
        """Raises ``LocalFileError`` where one of the URLs is a file of this machine that may not be published."""
        for url in urls:
            if scheme(url) == "file":
                self._permitted(url, local_path(url))

    def stat(self, url: str) -> ShardStat:
        """Size and ETag of a shard.

        Raises:
            ShardMissingError, ShardForbiddenError, ServiceError: As ``access.stat_shard``.
            LocalFileError: It is a file of this machine that may not be published.
        """
        return self._ask(
            url,
            lambda end, bucket, key: end.stat(bucket, key),
            lambda store: stat_shard(url, store=store, permit=self._permitted),
        )

    def open_shard(self, url: str) -> BinaryIO:
        """A shard's bytes as they arrive; raises as ``stat`` does."""
        return self._ask(
            url,
            lambda end, bucket, key: end.open(bucket, key),
            lambda store: open_shard(url, store=store, permit=self._permitted),
        )

    def endpoint(self, url: str) -> tuple[str | None, str | None]:
        """Endpoint URL and region of the S3 service that answered for this shard."""
        answered = self._answered.get(parse_s3(url)[0]) if scheme(url) == "s3" else None
        return (None, None) if answered is None else (answered.endpoint_url, answered.region)

    def s3(self, url: str) -> S3Endpoint | None:
        """The S3 service that is asked first for a shard; None where it is a store of somebody's own, or no S3."""
        from ...stores.s3.objects import S3Endpoint

        asked = next(self._candidates(url, parse_s3(url)[0])) if scheme(url) == "s3" else None
        return asked if isinstance(asked, S3Endpoint) else None

    def _permitted(self, url: str, path: Path) -> Path:
        return permitted_file(url, path, self.dataset)

    def _ask(
        self,
        url: str,
        of_endpoint: Callable[[S3Endpoint, str, str], T],
        of_store: Callable[[Any], T],
    ) -> T:
        from ...stores.s3.objects import S3Endpoint

        if scheme(url) != "s3":
            # Also where a store opens it by itself.
            self.permit([url])
            serving = [store for store in self._stores if _serves(store, url)]
            return of_store(serving[0] if serving else None)
        bucket, key = parse_s3(url)
        missing: ShardMissingError | None = None
        forbidden: ShardForbiddenError | None = None
        for asked in self._candidates(url, bucket):
            try:
                if not isinstance(asked, S3Endpoint):
                    return of_store(asked)
                if asked.anonymous and missing is not None:
                    break  # a configured store knows better than an anonymous look
                answer = of_endpoint(asked, bucket, key)
                self._answered[bucket] = asked
                return answer
            except ShardMissingError as error:
                missing = missing or error
            except ShardForbiddenError as error:
                forbidden = forbidden or error
        if missing is not None:
            raise missing
        raise forbidden or ShardForbiddenError(f"No credentials are known for {displayed(url)}.", url=url)

    def _candidates(self, url: str, bucket: str) -> Iterator[Any]:
        """Whom to ask: S3 endpoints, and stores that are not ours."""
        from ...stores.s3.objects import S3Endpoint

        if bucket in self._answered:
            yield self._answered[bucket]
            return
        claim = self._claims.get(url)
        asked: list[S3Endpoint] = []
        for store in [*self._stores, self._destination, _environment()]:
            endpoint = store if isinstance(store, S3Endpoint) else getattr(store, "endpoint", None)
            if not isinstance(endpoint, S3Endpoint):
                if store is not None and store is not self._destination and _serves(store, url):
                    yield store
                continue
            # Where a shard lies that has no claim is not known: the destination is no good guess.
            if claim is None:
                home = store is not self._destination
            else:
                home = same_service(endpoint.endpoint_url, claim.endpoint)
            if home and endpoint not in asked:
                asked.append(endpoint)
                yield endpoint
        places = [(claim.endpoint, claim.region)] if claim else [(e.endpoint_url, e.region) for e in asked]
        for place in dict.fromkeys(places or [(None, None)]):
            yield S3Endpoint.anonymous_at(*place)


def _environment() -> S3Endpoint | None:
    from ...stores.s3.objects import S3Endpoint

    try:
        return S3Endpoint.from_environment()
    except CredentialsError:
        return None


def _serves(store: Any, url: str) -> bool:
    """Whether a store that is not ours, or a public URL of ours, answers for this URL."""
    public = getattr(store, "public_url", None)
    if isinstance(public, str):
        return url.startswith(public.rstrip("/") + "/")
    return not hasattr(store, "endpoint") and hasattr(store, "read_url")
