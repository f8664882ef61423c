"""S3 and what speaks it: endpoints, objects, and errors that name both.

An ``S3Endpoint`` is a plain value (address, keys, region). Every botocore error becomes one of ours.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportAttributeAccessIssue=false, reportUnknownArgumentType=false
# boto3 comes without types.

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from ...common.env_file import open_env_file
from ...common.retry_after import with_retries
from ...errors import AtdataError, CredentialsError, RefusedError, ServiceRefusedError, ShardChangedError
from ...protocols import ShardStat, strong_etag
from ..shard_streams import Opened, PartRead, ResumableRead, changed_while_read, is_rest, read_ahead, size_unstated
from .aws_config import ProfileSettings, has_credentials, settings_of
from .clients import ClientOptions, checked_endpoint
from .s3_errors import translated

_ENDPOINT_NAMES = ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
_KEY_NAMES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_STYLES = ("path", "virtual", "auto")


@dataclass(frozen=True)
class S3Endpoint(ClientOptions):
    """One S3 service as one set of credentials sees it.

    ``endpoint_url`` is None for AWS itself. Without keys (and not anonymous) boto3's own chain is asked.
    ``guarded``: the address came from the network, so only public ones are connected to. ``attempts`` counts the
    first one too; ``timeout`` (seconds) holds for connecting and for each silence, 10 and 60 by default; ``verify``
    False takes any TLS certificate, None is boto3's default. ``profile`` is one of the AWS configuration, None the
    usual one. ``addressing_style``: ``path`` (the default beside AWS), ``virtual`` or ``auto``. ``request_payer``:
    the owner of the keys pays for what a requester-pays bucket sends.
    """

    @classmethod
    def from_credentials(cls, credentials: Mapping[str, Any] | str | os.PathLike[str]) -> S3Endpoint:
        """From a dict or a ``.env`` file with the usual ``AWS_*`` names; ``AWS_PROFILE`` may stand for the keys.

        Raises:
            CredentialsError: no such file, a key that is missing, an endpoint that is no http(s) URL, or an option
                that is none.
        """
        if isinstance(credentials, Mapping):
            source, given = "the credentials given", credentials
        else:
            source, given = str(credentials), _read_env_file(Path(credentials))
        values = {name: str(value).strip() for name, value in given.items() if value is not None}
        missing = [name for name in _KEY_NAMES if not values.get(name)]
        if missing and (len(missing) < len(_KEY_NAMES) or not values.get("AWS_PROFILE")):
            raise CredentialsError(
                f"{source}: {' and '.join(missing)} missing. An S3 store needs AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY, and AWS_ENDPOINT where it is not AWS itself.",
                source=source,
                missing=missing,
            )
        profile = values.get("AWS_PROFILE") if missing else None
        named = _first(values, _ENDPOINT_NAMES)
        address = checked_endpoint(values[named], f"{source}: {named}") if named else None
        settings = settings_of(profile)
        if profile is None:
            # Keys that are spelled out belong to AWS itself, or to the address beside them.
            return cls._from_names(values, settings, source, address=address, region=None)
        address = address or _address_of(settings)
        return cls._from_names(values, settings, source, address=address, region=settings.region, profile=profile)

    @classmethod
    def from_environment(cls) -> S3Endpoint | None:
        """From ``ATDATA_S3_ENDPOINT``, ``AWS_*`` and the AWS configuration of this machine, as boto3 finds it.

        None where neither an address is set nor credentials are found.

        Raises:
            CredentialsError: the address is no http(s) URL, or an option is none.
        """
        values = {name: value.strip() for name, value in os.environ.items() if value.strip()}
        named = _first(values, ("ATDATA_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"))
        settings = settings_of(None)
        address = checked_endpoint(values[named], named) if named else _address_of(settings)
        if address is None and _KEY_NAMES[0] not in values and not has_credentials(None):
            return None
        return cls._from_names(values, settings, "the environment", address=address, region=settings.region)

    @classmethod
    def anonymous_at(
        cls,
        endpoint_url: str | None,
        region: str | None = None,
        *,
        guarded: bool = False,
        timeout: float | None = None,
    ) -> S3Endpoint:
        """The service as anybody sees it, without credentials; ``guarded``: its address came from the network."""
        address = None if endpoint_url is None else checked_endpoint(endpoint_url, "The endpoint")
        return cls(endpoint_url=address, region=region, anonymous=True, guarded=guarded, timeout=timeout)

    @classmethod
    def _from_names(
        cls,
        values: Mapping[str, str],
        settings: ProfileSettings,
        source: str,
        *,
        address: str | None,
        region: str | None,
        profile: str | None = None,
    ) -> S3Endpoint:
        """``region``: where the values name none."""
        named = _first(values, ("AWS_REGION", "AWS_DEFAULT_REGION"))
        style, pays = _options(values, settings, source)
        return cls(
            endpoint_url=address,
            access_key=values.get("AWS_ACCESS_KEY_ID"),
            secret_key=values.get("AWS_SECRET_ACCESS_KEY"),
            session_token=values.get("AWS_SESSION_TOKEN"),
            region=values[named] if named else region,
            profile=profile,
            addressing_style=style,
            request_payer=pays,
        )

    def configured(self) -> S3Endpoint:
        """With the addressing style and the payer of the environment; raises as ``from_environment``."""
        settings = settings_of(self.profile)
        if self.addressing_style is not None:
            settings = settings._replace(addressing_style=self.addressing_style)
        style, pays = _options(os.environ, settings, "the environment")
        return replace(self, addressing_style=style, request_payer=pays or self.request_payer)

    def stat(self, bucket: str, key: str) -> ShardStat:
        """Size, ETag and, where the server keeps one that it checked itself, the SHA-256 of an object.

        Raises:
            ShardMissingError: no such object (fact ``key``) or no such bucket (fact ``key`` is None).
            ShardForbiddenError: it may not be looked at.
            CredentialsError: nothing may be looked at: the token, the clock, the region, or where keys come from.
            ServiceUnavailableError, RateLimitedError: the service did not answer; it may pass.
            StorageError: it does not say how large the object is.
        """
        with self.errors(bucket, key):
            return self._stat_of(bucket, key, self._head(bucket, key))

    def find(self, bucket: str, key: str) -> ShardStat | None:
        """As ``stat``, with one request also where nothing is there: None then, be it for want of the bucket."""
        from botocore.exceptions import ClientError

        with self.errors(bucket, key):
            try:
                head = self._head(bucket, key)
            except ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                    raise
                return None
            return self._stat_of(bucket, key, head)

    def is_empty(self, bucket: str, folder: str) -> bool:
        """Whether no key begins with ``folder``; False also where the service does not say so at once.

        What is listed is one name: some servers digest every object that they list.
        """
        try:
            with self.errors(bucket, folder):
                # One attempt: whoever learns nothing looks at each object, patiently.
                listed = self.client_of_one_attempt.list_objects_v2(
                    Bucket=bucket, Prefix=folder, Delimiter="/", MaxKeys=1
                )
        except AtdataError:
            return False
        return not (listed.get("Contents") or listed.get("CommonPrefixes") or listed.get("IsTruncated"))

    def open(self, bucket: str, key: str) -> BinaryIO:
        """An object's bytes as they arrive; raises as ``stat`` does, at the start or while reading.

        A transfer that breaks off is resumed.

        Raises:
            ShardChangedError: the object was replaced while it was read.
            StorageError: its size is none, or it was not said and there are more than 1 GiB.
        """
        body = self.transfer(bucket, key)
        return read_ahead(body, body.size)

    def transfer(self, bucket: str, key: str, *, part: PartRead | None = None) -> ResumableRead:
        """As ``open``, nothing of it fetched ahead; from where a part ends, if the service goes on there."""

        def rest(at: int, version: str) -> Opened | None:
            return self._open_rest(bucket, key, at, size, version)

        url = f"s3://{bucket}/{key}"
        if part is not None:
            size = part.size
            with suppress(ShardChangedError):
                if first := with_retries(lambda: rest(part.at, part.version)):
                    return ResumableRead(first, rest, url, part)
        with self.errors(bucket, key):
            answer = self.client.get_object(Bucket=bucket, Key=key)
        size, etag = answer.get("ContentLength"), answer.get("ETag", "")
        if size is not None and size < 0:
            answer["Body"].close()
            raise size_unstated(url)
        first = self._opened(bucket, key, answer["Body"], etag if strong_etag(etag) else None, size)
        return ResumableRead(first, rest, url)

    def errors(self, bucket: str, key: str | None = None) -> AbstractContextManager[None]:
        """Turns botocore's errors into ours, naming the object and the endpoint."""
        return translated(self, bucket, key)

    def _head(self, bucket: str, key: str) -> Mapping[str, Any]:
        return self.client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")

    def _stat_of(self, bucket: str, key: str, head: Mapping[str, Any]) -> ShardStat:
        size = head.get("ContentLength", -1)
        if size < 0:
            raise size_unstated(f"s3://{bucket}/{key}")
        return ShardStat(
            size=size,
            etag=strong_etag(head.get("ETag")),
            sha256=self._server_sha256(bucket, key, head),
        )

    def _open_rest(self, bucket: str, key: str, at: int, size: int | None, etag: str) -> Opened | None:
        url = f"s3://{bucket}/{key}"
        try:
            with self.errors(bucket, key):
                # One attempt: whoever resumes counts them.
                answer = self.client_of_one_attempt.get_object(
                    Bucket=bucket, Key=key, Range=f"bytes={at}-", IfMatch=etag
                )
        except ServiceRefusedError as error:
            if error.status not in (412, 416):
                raise
            raise changed_while_read(url, etag, None) from None
        # Servers that do not know IfMatch answer all the same.
        if answer.get("ETag") != etag:
            answer["Body"].close()
            raise changed_while_read(url, etag, answer.get("ETag"))
        if not is_rest(answer.get("ContentRange"), at, size):
            answer["Body"].close()
            return None
        return self._opened(bucket, key, answer["Body"], etag, size)

    def _opened(self, bucket: str, key: str, body: Any, etag: str | None, size: int | None) -> Opened:
        def read(count: int) -> bytes:
            with self.errors(bucket, key):
                return body.read(count)

        def stop() -> None:
            # Closing a socket does not wake who reads from it, shutting it down does.
            with suppress(OSError, ValueError, RuntimeError, AttributeError):
                body._raw_stream.shutdown()

        return Opened(read, body.close, stop, etag, size)

    def _server_sha256(self, bucket: str, key: str, head: Mapping[str, Any]) -> str | None:
        claimed = head.get("ChecksumSHA256")
        if not claimed:
            return None
        kind = head.get("ChecksumType")
        if kind is None:
            # Some servers repeat in HEAD whatever the uploader claimed, unchecked, or the digest of
            # part digests; those that know their checksums answer this call too, and name the kind.
            checksum = self._attributes(bucket, key)
            claimed, kind = checksum.get("ChecksumSHA256"), checksum.get("ChecksumType", "FULL_OBJECT")
        if not claimed or "-" in claimed or kind != "FULL_OBJECT":
            return None
        return base64.b64decode(claimed).hex()

    def _attributes(self, bucket: str, key: str) -> dict[str, Any]:
        """What GetObjectAttributes says of the checksum; nothing where the service has no such call, or fails."""
        from botocore.exceptions import BotoCoreError, ClientError

        if (os.getpid(), self) in _without_attributes:
            return {}
        try:
            # One attempt: rclone answers this call with a 500 that never passes.
            answer = self.client_of_one_attempt.get_object_attributes(
                Bucket=bucket, Key=key, ObjectAttributes=["Checksum"]
            )
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (429, 503):
                _without_attributes.add((os.getpid(), self))
            return {}
        except BotoCoreError:
            return {}  # not worth another attempt: what it would say can be found by reading
        return answer.get("Checksum", {})


_without_attributes: set[tuple[int, S3Endpoint]] = set()


def checked_style(style: str, source: str) -> str:
    """How a service wants its buckets named; raises ``CredentialsError`` for what is no way to."""
    if style not in _STYLES:
        raise CredentialsError(
            f"{source}: {style!r} is no addressing style. Say {', '.join(_STYLES[:-1])} or {_STYLES[-1]}: "
            "AWS_S3_ADDRESSING_STYLE, or addressing_style of the AWS configuration.",
            source=source,
        )
    return style


def _options(values: Mapping[str, str], settings: ProfileSettings, source: str) -> tuple[str | None, bool]:
    """The addressing style, and whether the owner of the keys pays."""
    name = "AWS_S3_ADDRESSING_STYLE"
    style = values.get(name) or os.environ.get(name) or settings.addressing_style
    payer = values.get("AWS_REQUEST_PAYER")
    if payer and payer != "requester":
        raise CredentialsError(
            f"{source}: AWS_REQUEST_PAYER is {payer!r}. Leave it out, or say requester.", source=source
        )
    return checked_style(style, source) if style else None, bool(payer)


def _address_of(settings: ProfileSettings) -> str | None:
    found = settings.endpoint_url
    return checked_endpoint(found, "endpoint_url of the AWS configuration") if found else None


def _first(values: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    """The first of the names that has a value."""
    return next((name for name in names if values.get(name)), None)


def _read_env_file(path: Path) -> dict[str, str | None]:
    from dotenv import dotenv_values

    if not path.is_file():
        raise CredentialsError(
            f"There is no credentials file {path}. Give a dict, or the path of a .env file with "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_ENDPOINT).",
            source=str(path),
        )
    try:
        return dotenv_values(stream=open_env_file(path), interpolate=False)
    except RefusedError as error:
        raise CredentialsError(error.message, source=str(path)) from None
