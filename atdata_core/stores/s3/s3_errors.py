"""What an S3 service or boto3 complains of, as errors of ours that name the object and the endpoint."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from ...common.network_settings import UNTRUSTED, untrusted
from ...common.retry_after import seconds_to_wait
from ...errors import (
    AtdataError,
    RateLimitedError,
    ServiceRefusedError,
    ServiceUnavailableError,
    ShardForbiddenError,
    ShardMissingError,
    StorageError,
)
from .clients import SLOW, ClientOptions

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# botocore comes without types.

_FORBIDDEN = {
    "AccessDenied",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    # rclone's answer to a request without a signature.
    "UnsupportedAlgorithm",
}


@contextmanager
def translated(endpoint: ClientOptions, bucket: str, key: str | None) -> Generator[None]:
    """Raises our error in place of botocore's; ``key`` None: the call was about the bucket."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except AtdataError:
        raise
    except ClientError as error:
        # `from None`: what the service said may repeat key and signature.
        raise _of_response(endpoint, error.response, bucket, key) from None
    except (BotoCoreError, ValueError, OSError) as error:
        inner: Any = getattr(error, "kwargs", {}).get("error")
        if isinstance(inner, AtdataError):
            raise inner from None  # the guard of addresses, which botocore takes for a fault of the network
        raise _of_client(endpoint, error, bucket, key) from None


def _of_response(endpoint: ClientOptions, response: Mapping[str, Any], bucket: str, key: str | None) -> AtdataError:
    url = _url(bucket, key)
    code = str(response.get("Error", {}).get("Code", ""))
    reply = response.get("ResponseMetadata", {})
    status = int(reply.get("HTTPStatusCode", 0))
    if code == "NoSuchBucket":
        return _no_bucket(endpoint, bucket)
    if status == 404:
        # A HEAD request has no body that says which of the two is missing.
        if key is None or not endpoint.has_bucket(bucket):
            return _no_bucket(endpoint, bucket)
        return ShardMissingError(
            f"{url} does not exist at {endpoint.name}. Restore the object or insert the dataset again.",
            url=url,
            endpoint=endpoint.endpoint_url,
            bucket=bucket,
            key=key,
        )
    if status in (401, 403) or code in _FORBIDDEN or (endpoint.anonymous and status == 400):
        how = "without credentials" if endpoint.anonymous else f"with the keys given ({code})"
        return ShardForbiddenError(
            f"{url} may not be read or written at {endpoint.name} {how}. "
            "Check the keys for that bucket (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ATDATA_PUBLISH_* "
            "for the bucket that is published to) and what they may do with it.",
            url=url,
            endpoint=endpoint.endpoint_url,
            status=status,
        )
    wait = seconds_to_wait(reply.get("HTTPHeaders", {}))
    if status == 429 or code in SLOW:
        return RateLimitedError(
            f"{endpoint.name} asks to slow down ({code} for {url}). Try again later.",
            service=endpoint.name,
            status=status,
            retry_after=wait,
        )
    if status >= 500 or code == "RequestTimeout":
        return ServiceUnavailableError(
            f"{endpoint.name} failed with {status} {code} for {url}. Try again.",
            service=endpoint.name,
            status=status,
            retry_after=wait,
        )
    said = response.get("Error", {}).get("Message", "")
    return ServiceRefusedError(
        f"{endpoint.name} refused {url}: {status} {code} {said}",
        service=endpoint.name,
        status=status,
        error=code,
    )


def _of_client(endpoint: ClientOptions, error: Exception, bucket: str, key: str | None) -> AtdataError:
    from botocore import exceptions

    url = _url(bucket, key)
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return ShardForbiddenError(
            f"No S3 credentials for {url} at {endpoint.name}. Set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or give a data store that has them.",
            url=url,
            endpoint=endpoint.endpoint_url,
            status=None,
        )
    if isinstance(error, exceptions.ParamValidationError | ValueError):
        return StorageError(f"{url} cannot be asked for at {endpoint.name}: {error}", urls=[url])
    if untrusted(error):
        return ServiceRefusedError(
            f"{endpoint.name} {UNTRUSTED}.", service=endpoint.name, status=None, error="certificate"
        )
    return ServiceUnavailableError(
        f"{endpoint.name} did not answer for {url} ({type(error).__name__}). "
        "Check that the service runs and that its address is right (ATDATA_S3_ENDPOINT, AWS_ENDPOINT, or "
        "ATDATA_PUBLISH_ENDPOINT for the bucket that is published to).",
        service=endpoint.name,
        status=None,
    )


def _no_bucket(endpoint: ClientOptions, bucket: str) -> ShardMissingError:
    at = f" --endpoint-url {endpoint.endpoint_url}" if endpoint.endpoint_url else ""
    return ShardMissingError(
        f"There is no bucket {bucket!r} at {endpoint.name}. Create it (aws s3 mb s3://{bucket}{at}) "
        "or name another one.",
        url=f"s3://{bucket}",
        endpoint=endpoint.endpoint_url,
        bucket=bucket,
        key=None,
    )


def _url(bucket: str, key: str | None) -> str:
    return f"s3://{bucket}" if key is None else f"s3://{bucket}/{key}"
