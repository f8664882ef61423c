"""What an S3 service or boto3 complains of, as errors of ours that name the object and the endpoint."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from ...common.network_settings import tls_trouble
from ...common.retry_after import its_time, seconds_to_wait
from ...errors import (
    AtdataError,
    CredentialsError,
    RateLimitedError,
    ServiceRefusedError,
    ServiceUnavailableError,
    ShardForbiddenError,
    ShardMissingError,
    StorageError,
)
from ...secrets import masked
from .clients import SLOW, ClientOptions

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# botocore comes without types.

_FORBIDDEN = {
    "AccessDenied",
    "AllAccessDisabled",
    "AuthorizationHeaderMalformed",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    # rclone's answer to a request without a signature.
    "UnsupportedAlgorithm",
}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
_BAD_TOKEN = {"InvalidToken", "InvalidClientTokenId", "UnrecognizedClientException"}
_SKEWED = {"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"}
_ELSEWHERE = {
    "PermanentRedirect",
    "TemporaryRedirect",
    "AuthorizationHeaderMalformed",
    "AuthorizationQueryParametersError",
    "IllegalLocationConstraintException",
}
_MOVED = (301, 302, 307, 308)
_VIRTUAL_ONLY = re.compile(
    r"(SecondLevel|PathStyle)Domain|(only|must|use).*(virtual.?(hosted|style)|third.level.domain)"
    r"|path.?style.*(not|forbidden|disabled)",
    re.IGNORECASE | re.DOTALL,
)
_REGION = re.compile(r"expecting '([a-z0-9-]+)'|\bs3[.-]([a-z0-9-]+)\.amazonaws\.")
_APART = 300.0
"""Seconds between two clocks from which on a refusal is put down to them; S3 takes a signature for 900."""


@contextmanager
def translated(endpoint: ClientOptions, bucket: str, key: str | None) -> Generator[None]:
    """Raises our error in place of botocore's; ``key`` None: the call was about the bucket."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except AtdataError:
        raise
    except ClientError as error:
        if error.operation_name not in endpoint.client.meta.service_model.operation_names:
            raise _without_keys(endpoint, error, _url(bucket, key)) from None
        # `from None`: what the service said may repeat key and signature.
        raise _of_response(endpoint, _with_reason(endpoint, error, bucket, key), bucket, key) from None
    except (BotoCoreError, ValueError, OSError) as error:
        inner: Any = getattr(error, "kwargs", {}).get("error")
        if isinstance(inner, AtdataError):
            raise inner from None  # the guard of addresses, which botocore takes for a fault of the network
        raise _of_client(endpoint, error, bucket, key) from None


def can_pass(error: Exception) -> bool:
    """Whether an error is one of botocore's that may be gone later."""
    from botocore import exceptions

    if isinstance(error, exceptions.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return status == 429 or status >= 500
    return isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError)


def _with_reason(endpoint: ClientOptions, error: Any, bucket: str, key: str | None) -> Mapping[str, Any]:
    """A refusal with its reason: the answer to a HEAD has no body that says it, so GET asks once."""
    from botocore.exceptions import BotoCoreError, ClientError

    response: Mapping[str, Any] = error.response
    # Who has no keys, and may not, is told nothing more.
    worth = (*_MOVED, 400) if endpoint.anonymous else (*_MOVED, 400, 401, 403)
    if not error.operation_name.startswith("Head") or response["ResponseMetadata"]["HTTPStatusCode"] not in worth:
        return response
    client = endpoint.client_of_one_attempt
    try:
        if key is None:
            client.list_objects_v2(Bucket=bucket, MaxKeys=1)
        else:
            client.get_object(Bucket=bucket, Key=key, Range="bytes=0-0")["Body"].close()
    except ClientError as refusal:
        told: dict[str, Any] = dict(refusal.response)
        reply: dict[str, Any] = told.get("ResponseMetadata", {})
        # A header that only the first answer has may name the region.
        headers = {**response["ResponseMetadata"].get("HTTPHeaders", {}), **reply.get("HTTPHeaders", {})}
        if reply.get("HTTPStatusCode") in (*worth, 404):
            return {**told, "ResponseMetadata": {**reply, "HTTPHeaders": headers}}
    except (BotoCoreError, OSError):
        pass  # the first answer says more
    return response


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
    said = str(response.get("Error", {}).get("Message", ""))
    if 300 <= status < 500 and _VIRTUAL_ONLY.search(f"{code} {said}"):
        return ServiceRefusedError(
            f"{endpoint.name} refused {url} ({code}): it takes virtual-hosted addresses only, where the bucket "
            "stands in the host's name. Set AWS_S3_ADDRESSING_STYLE=virtual (ATDATA_PUBLISH_ADDRESSING_STYLE for "
            "the bucket that is published to).",
            service=endpoint.name,
            status=status,
            error=code,
        )
    cause = _cause(endpoint, response, url) or _other_region(endpoint, response, bucket, url)
    if cause and not endpoint.anonymous:
        # Nothing is said of this object yet: nobody may go on without having looked at it.
        return CredentialsError(cause, source=endpoint.name, url=url, status=status)
    if cause or status in (401, 403) or code in _FORBIDDEN or (endpoint.anonymous and status == 400):
        return ShardForbiddenError(
            cause or _not_allowed(endpoint, code, url), url=url, endpoint=endpoint.endpoint_url, status=status
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
    return ServiceRefusedError(
        f"{endpoint.name} refused {url}: {status} {code} {said}",
        service=endpoint.name,
        status=status,
        error=code,
    )


def _cause(endpoint: ClientOptions, response: Mapping[str, Any], url: str) -> str | None:
    """Where a token or a clock is to blame for a refusal, what is said of it."""
    if endpoint.anonymous:
        return None
    code, reply = str(response.get("Error", {}).get("Code", "")), response.get("ResponseMetadata", {})
    service, now = endpoint.name, its_time(reply.get("HTTPHeaders", {}))
    ahead = 0.0 if now is None else time.time() - now
    if code in _SKEWED or (abs(ahead) > _APART and reply.get("HTTPStatusCode") in (400, 401, 403)):
        way = f" ({abs(ahead):,.0f} s {'ahead' if ahead > 0 else 'behind'})" if abs(ahead) > 1 else ""
        return (
            f"{service} refused the signature for {url} ({code}): the clock of this machine differs from its own"
            f"{way}. Set the time of whichever is wrong (timedatectl set-ntp true); the keys may be right."
        )
    if code in _EXPIRED:
        return (
            f"The session token with which {service} was asked for {url} has expired ({code}). Get new ones: "
            "AWS_SESSION_TOKEN with its two keys, or `aws sso login`."
        )
    if code in _BAD_TOKEN:
        return (
            f"{service} does not know the session token with which it was asked for {url} ({code}). "
            "AWS_SESSION_TOKEN belongs to AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: set the three together, or "
            "leave it out where the keys are lasting ones."
        )
    return None


def _other_region(endpoint: ClientOptions, response: Mapping[str, Any], bucket: str, url: str) -> str | None:
    """Where the bucket is in another region than was asked, what is said of it."""
    told, reply = response.get("Error", {}), response.get("ResponseMetadata", {})
    code, status = str(told.get("Code", "")), reply.get("HTTPStatusCode", 0)
    if status not in _MOVED and code not in _ELSEWHERE:
        return None
    asked, place = endpoint.client.meta.region_name, str(told.get("Endpoint", ""))
    named = _REGION.search(f"{told.get('Message', '')} {place}")
    region = reply.get("HTTPHeaders", {}).get("x-amz-bucket-region") or told.get("Region")
    region = region or (named and (named[1] or named[2])) or endpoint.region_of(bucket)
    if code not in ("PermanentRedirect", "TemporaryRedirect") and region in (None, asked):
        return None  # a header that is malformed otherwise, or the redirect of a website
    where = f"the region {region}" if region else "another region"
    address = f" The service names the address {place}." if place else ""
    return (
        f"{endpoint.name} was asked for {url} in the region {asked}, but the bucket is in {where} "
        f"({status} {code}).{address} Set AWS_REGION{f'={region}' if region else ' to it'}, and where that region "
        "has an address of its own, that (ATDATA_S3_ENDPOINT, AWS_ENDPOINT or ATDATA_PUBLISH_ENDPOINT)."
    )


def _not_allowed(endpoint: ClientOptions, code: str, url: str) -> str:
    how = "without credentials" if endpoint.anonymous else f"with the keys given ({code})"
    may_cost = code in ("AccessDenied", "403") and not endpoint.request_payer
    return (
        f"{url} may not be read or written at {endpoint.name} {how}. "
        "Check the keys for that bucket (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ATDATA_PUBLISH_* "
        "for the bucket that is published to) and what they may do with it."
        + (" Where the reader pays (requester pays), set AWS_REQUEST_PAYER=requester." if may_cost else "")
    )


def _without_keys(endpoint: ClientOptions, error: Exception, url: str) -> CredentialsError:
    """The AWS configuration leads to no keys: a profile, a role, a login."""
    profile = endpoint.profile or os.environ.get("AWS_PROFILE") or "default"
    return CredentialsError(
        f"The AWS configuration gives no keys for {url} at {endpoint.name} (profile {profile!r}): "
        f"{masked(str(error))}. Mend it, log in anew (`aws sso login`), or set AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY.",
        source=profile,
        url=url,
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
    if isinstance(error, _broken_chain()):
        return _without_keys(endpoint, error, url)
    if isinstance(error, exceptions.ParamValidationError | ValueError):
        return StorageError(f"{url} cannot be asked for at {endpoint.name}: {error}", urls=[url])
    if said := tls_trouble(error):
        return ServiceRefusedError(
            f"{endpoint.name} {said}.", service=endpoint.name, status=None, error="certificate"
        )
    # What the client of ``clients`` itself found, such as that an answer trickles.
    found = getattr(getattr(error, "kwargs", {}).get("error"), "__cause__", None)
    why = found if isinstance(found, TimeoutError) else type(error).__name__
    return ServiceUnavailableError(
        f"{endpoint.name} did not answer for {url} ({why}). "
        "Check that the service runs and that its address is right (ATDATA_S3_ENDPOINT, AWS_ENDPOINT, or "
        "ATDATA_PUBLISH_ENDPOINT for the bucket that is published to).",
        service=endpoint.name,
        status=None,
    )


def _broken_chain() -> tuple[type[Exception], ...]:
    """What botocore raises where profile, role, container or login give no keys."""
    from botocore import exceptions

    return (
        exceptions.CredentialRetrievalError,
        exceptions.MetadataRetrievalError,
        exceptions.TokenRetrievalError,
        exceptions.NoAuthTokenError,
        exceptions.SSOError,
        exceptions.LoginError,
        exceptions.ProfileNotFound,
        exceptions.ConfigParseError,
        exceptions.ConfigNotFound,
        exceptions.InvalidConfigError,
        exceptions.UnknownCredentialError,
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
