"""Where the bytes of an entry's shards are read from, and with whose credentials.

In order: the store that the entry carries, the index's store, the destination where it is on the same
endpoint, the environment, anonymous access. Files of this machine are read where
``local_files.permitted_file`` permits it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar

from ...common.urls import displayed, local_path, parse_s3, scheme
from ...errors import CredentialsError, ShardForbiddenError, ShardMissingError
from ...protocols import ShardFacts, ShardStat
from ...stores.data_store import DataStore, as_data_store
from ...stores.local_files import permitted_file
from ...stores.opening import open_shard, stat_shard
from ...stores.s3.clients import same_service
from ...stores.shard_streams import stat_of

if TYPE_CHECKING:
    from ...stores.s3.objects import S3Endpoint

T = TypeVar("T")

WAYS_OUT = (
    "Set ATDATA_S3_ENDPOINT with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "or give the index a data_store with credentials for that bucket."
)


class _Candidate(NamedTuple):
    """Who may have a shard: an S3 service, or a store that opens it in its own way."""

    endpoint: S3Endpoint | None
    store: DataStore | None = None


class Sources:
    """Reads shards of one entry. ``claims`` tell at which endpoint each shard was first seen."""

    def __init__(
        self,
        entry: Any,
        index: Any,
        destination: DataStore | None = None,
        claims: Mapping[str, ShardFacts] | None = None,
    ) -> None:
        self.dataset: str = entry.name
        own = (getattr(entry, "data_store", None), getattr(index, "data_store", None))
        self._stores = [as_data_store(store) for store in own if store is not None]
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
            ShardMissingError, ShardForbiddenError, ServiceError: As ``opening.stat_shard``.
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

    def open_known(self, url: str) -> tuple[BinaryIO, ShardStat]:
        """A shard's bytes, and size and ETag of the very object: with one request, where the answer tells both."""
        stream = self.open_shard(url)
        if (stat := stat_of(stream)) is not None:
            return stream, stat
        with stream:
            # Before it is read: what took its place since would be known by an ETag that is not its own.
            stat = self.stat(url)
        return self.open_shard(url), stat

    def reads_as_anybody(self, url: str) -> bool:
        """Whether a shard is read at its very URL: a store may give another file for one of the web."""
        return scheme(url) == "s3" or not any(store.serves(url) for store in self._stores)

    def endpoint(self, url: str) -> tuple[str | None, str | None]:
        """Endpoint URL and region of the S3 service that answered for this shard."""
        answered = self._answered.get(parse_s3(url)[0]) if scheme(url) == "s3" else None
        return (None, None) if answered is None else (answered.endpoint_url, answered.region)

    def s3(self, url: str) -> S3Endpoint | None:
        """The S3 service that is asked first for a shard; None where it is a store of somebody's own, or no S3."""
        return next(self._candidates(url, parse_s3(url)[0])).endpoint if scheme(url) == "s3" else None

    def _permitted(self, url: str, path: Path) -> Path:
        return permitted_file(url, path, self.dataset)

    def _ask(
        self,
        url: str,
        of_endpoint: Callable[[S3Endpoint, str, str], T],
        of_store: Callable[[DataStore | None], T],
    ) -> T:
        if scheme(url) != "s3":
            # Also where a store opens it by itself.
            self.permit([url])
            return of_store(next((store for store in self._stores if store.serves(url)), None))
        bucket, key = parse_s3(url)
        missing: ShardMissingError | None = None
        forbidden: ShardForbiddenError | CredentialsError | None = None
        for endpoint, store in self._candidates(url, bucket):
            try:
                if endpoint is None:
                    return of_store(store)
                if endpoint.anonymous and missing is not None:
                    break  # a configured store knows better than an anonymous look
                answer = of_endpoint(endpoint, bucket, key)
                self._answered[bucket] = endpoint
                return answer
            except ShardMissingError as error:
                missing = missing or error
            except (ShardForbiddenError, CredentialsError) as error:
                forbidden = forbidden or error
        # Where a token or the clock was to blame, it was not looked at there.
        if missing is not None and not isinstance(forbidden, CredentialsError):
            raise missing
        raise forbidden or ShardForbiddenError(f"No credentials are known for {displayed(url)}.", url=url)

    def _candidates(self, url: str, bucket: str) -> Iterator[_Candidate]:
        """Whom to ask: S3 services, and stores that are on none."""
        from ...stores.s3.objects import S3Endpoint

        if bucket in self._answered:
            yield _Candidate(self._answered[bucket])
            return
        claim = self._claims.get(url)
        candidates: list[S3Endpoint] = []
        known: list[tuple[S3Endpoint | None, DataStore | None]] = [(s.service, s) for s in self._stores]
        # Where a shard lies that has no claim is not known: the destination is no good guess.
        if claim is not None and self._destination is not None and self._destination.service is not None:
            known.append((self._destination.service, None))
        if self._environment is not None:
            known.append((self._environment, None))
        for endpoint, store in known:
            if endpoint is None:
                if store is not None and store.serves(url):
                    yield _Candidate(None, store)
            elif endpoint not in candidates and (
                claim is None or same_service(endpoint.endpoint_url, claim.endpoint)
            ):
                candidates.append(endpoint)
                yield _Candidate(endpoint)
        places = [(claim.endpoint, claim.region)] if claim else [(e.endpoint_url, e.region) for e in candidates]
        for place in dict.fromkeys(places or [(None, None)]):
            yield _Candidate(S3Endpoint.anonymous_at(*place))

    @cached_property
    def _environment(self) -> S3Endpoint | None:
        from ...stores.s3.objects import S3Endpoint

        try:
            return S3Endpoint.from_environment()
        except CredentialsError:
            return None
