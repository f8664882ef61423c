"""Clients of boto3, made once per process and endpoint, and shared by all threads.

They wait at the gates of ``retry_after`` and send again what may soon succeed. An answer that trickles is given up,
and all but an object's bytes is read up to a bound. One whose address came from the network connects to public
addresses alone.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from http.client import HTTPResponse
from io import BufferedReader, RawIOBase
from typing import Any
from urllib.parse import urlsplit

from ...common import retry_after
from ...common.concurrency import THREADS, limit_of
from ...common.network_settings import checked_authorities, proxy_of, settings
from ...errors import (
    AtdataError,
    CredentialsError,
    NetworkSettingsError,
    ServiceRefusedError,
)
from ...secrets import keep_secret
from ..http_transport import ReadRate
from ..private_addresses import check_public
from ..shard_streams import LARGEST_UNSTATED
from .aws_config import client_of, has_credentials, settings_of, variables

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUntypedBaseClass=false, reportAttributeAccessIssue=false, reportUnknownArgumentType=false
# boto3 comes without types.

_MOST_CLIENTS = 16
"""Records of others may name as many endpoints as they like, and a client takes some megabytes."""
SLOW = {"SlowDown", "TooManyRequests", "RequestLimitExceeded", "Throttling", "ThrottlingException"}
"""Names of errors by which a service asks to slow down."""
_ISSUED = 16
"""Characters of an access key that a service made up; a shorter one is a name that somebody chose."""
_MOST_TOLD = 1 << 23
"""Bytes (8 MiB) of an answer that is no object: a list of a thousand names has less."""
_PAYER = "x-amz-request-payer"
_PASSES = (429, 500, 502, 503, 504)
_PASSES_BY_NAME = SLOW | {"RequestTimeout", "RequestTimeoutException", "InternalError"}


@dataclass(frozen=True)
class ClientOptions:
    """What a client of an S3 service is made of; see ``S3Endpoint``, which adds what can be asked for."""

    endpoint_url: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str | None = None
    anonymous: bool = False
    guarded: bool = False
    attempts: int = retry_after.ATTEMPTS
    timeout: float | None = None
    verify: bool | None = None
    profile: str | None = None
    addressing_style: str | None = None
    request_payer: bool = False

    def __post_init__(self) -> None:
        if self.endpoint_url and self.addressing_style:
            _styles[_place_of(self.endpoint_url)] = self.addressing_style
        issued = self.access_key if self.access_key and len(self.access_key) >= _ISSUED else None
        for secret in filter(None, (self.secret_key, self.session_token, issued)):
            keep_secret(secret)

    @property
    def signs(self) -> bool:
        """Whether there are keys: those given, or those that the AWS configuration leads to."""
        return not self.anonymous and bool(self.access_key or has_credentials(self.profile))

    @property
    def name(self) -> str:
        """The address for people."""
        return self.endpoint_url or "AWS S3"

    @property
    def client(self) -> Any:
        """The boto3 client of this endpoint, made once per process."""
        return _client_of(self, attempts=self.attempts)

    @property
    def client_of_one_attempt(self) -> Any:
        """One whose requests are sent once: for whoever counts attempts, or looks before another one."""
        return _client_of(self, attempts=1)

    def has_bucket(self, bucket: str) -> bool:
        """Whether the bucket is there; True where the service will not say."""
        return self._look_at(bucket).get("HTTPStatusCode") != 404

    def region_of(self, bucket: str) -> str | None:
        """The region of a bucket, where the service says it."""
        return self._look_at(bucket).get("HTTPHeaders", {}).get("x-amz-bucket-region")

    def _look_at(self, bucket: str) -> Mapping[str, Any]:
        """Status and headers with which a bucket is answered for; nothing where it is not."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return self.client.head_bucket(Bucket=bucket)["ResponseMetadata"]
        except ClientError as error:
            return error.response["ResponseMetadata"]
        except BotoCoreError:
            return {}


_styles: dict[tuple[object, ...], str] = {}
"""How services are addressed, as they were configured: who looks at one without keys has to know it too."""

# By process too: a forked worker must not share its parent's connections.
_clients: dict[Any, Any] = {}
_clients_lock = threading.Lock()


def _client_of(endpoint: ClientOptions, *, attempts: int) -> Any:
    """The client of an endpoint in this process, which sends a request so often."""
    style = endpoint.addressing_style
    if style is None and endpoint.endpoint_url:
        style = _styles.get(_place_of(endpoint.endpoint_url), "path")
    asks_chain = not (endpoint.anonymous or endpoint.access_key)
    key = (os.getpid(), endpoint, attempts, style, variables() if asks_chain else (), settings())
    with _clients_lock:
        client = _clients.pop(key, None) or _make_client(endpoint, style, attempts=attempts)
        # The last one used stands last.
        _clients[key] = client
        if len(_clients) > _MOST_CLIENTS:
            del _clients[next(iter(_clients))]
        return client


def _make_client(endpoint: ClientOptions, style: str | None, *, attempts: int) -> Any:
    import boto3
    import botocore
    from botocore import UNSIGNED
    from botocore.config import Config

    proxy = proxy_of(endpoint.endpoint_url or "https://s3.amazonaws.com", any_scheme=False)
    if proxy is not None and proxy.lower().startswith("socks"):
        raise NetworkSettingsError(
            f"{endpoint.name} cannot be reached by a SOCKS proxy. Name an http:// proxy for it, or list its "
            "host in NO_PROXY.",
            variable="HTTPS_PROXY",
        )
    config = Config(
        proxies={"http": proxy, "https": proxy} if proxy else {},
        max_pool_connections=THREADS,
        connect_timeout=endpoint.timeout or 10,
        read_timeout=endpoint.timeout or 60,
        retries={"mode": "standard", "total_max_attempts": 1},  # _send_again does it
        # Checksums beyond what a call needs break servers that do not know them.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": style} if style else None,
        # Spelled out, or URLs are signed in a way that only AWS itself still knows.
        signature_version=UNSIGNED if endpoint.anonymous else "s3v4",
        # botocore puts its own together twice for each request, which is a sixth of the work of a small one.
        user_agent=f"atdata Boto3/{boto3.__version__} Botocore/{botocore.__version__}",
        # The environment was read once, in from_environment; it must not move another endpoint.
        ignore_configured_endpoint_urls=True,
    )
    client = client_of(
        endpoint.profile,
        endpoint_url=endpoint.endpoint_url,
        aws_access_key_id=endpoint.access_key,
        aws_secret_access_key=endpoint.secret_key,
        aws_session_token=endpoint.session_token,
        region_name=endpoint.region or ("us-east-1" if endpoint.endpoint_url else None),
        verify=_authorities(endpoint.profile) if endpoint.verify is None else endpoint.verify,
        config=config,
    )
    _send_again(client, attempts)
    if endpoint.request_payer:
        client.meta.events.register("before-parameter-build.s3", _pay)
        client.meta.events.register("before-sign.s3", _pay_by_url)
    guarded = endpoint.guarded and proxy is None
    session = client._endpoint.http_session
    session.send = partial(_within_limit, session)
    session._pool_classes_by_scheme = session._manager.pool_classes_by_scheme = _pools(guarded)
    if endpoint.guarded and not guarded:
        # The connection is one to the proxy: what is asked of it is looked at.
        client.meta.events.register_first("before-send.s3", _check_proxied)
    return client


def _pay(params: dict[str, Any], model: Any, **_: Any) -> None:
    """Say with a request that whoever sends it pays, where it may say so."""
    if "RequestPayer" in model.input_shape.members:
        params.setdefault("RequestPayer", "requester")


def _pay_by_url(request: Any, signature_version: str, **_: Any) -> None:
    """Have a URL that is signed say so itself: whoever opens it sends no header."""
    if signature_version.endswith("-query") and (payer := request.headers.get(_PAYER)):
        del request.headers[_PAYER]
        request.params = {**(request.params or {}), _PAYER: payer}


def _send_again(client: Any, most: int) -> None:
    """Make a boto3 S3 client wait at the gates, and send a request at most so often."""

    def wait(request: Any, **_: Any) -> None:
        retry_after.ours.wait(retry_after.gate_of(request.url))

    def needs_retry(
        response: Any, attempts: int, caught_exception: Any, request_dict: Mapping[str, Any], **_: Any
    ) -> float | None:
        if response is not None:
            http, _parsed = response
            headers, gate = _lowered(http.headers), retry_after.gate_of(request_dict["url"])
            retry_after.note_answer(gate, http.status_code, headers)
        if attempts >= most or not _passes(response, caught_exception):
            return None
        retry_after.ours.pause(attempts)
        return 0.0  # seconds that botocore sleeps on top

    client.meta.events.register_first("before-send.s3", wait)
    client.meta.events.register_first("needs-retry.s3", _redirected_once)
    client.meta.events.register("needs-retry.s3", needs_retry)


def _within_limit(session: Any, request: Any) -> Any:
    """Send a request once the service has room for it."""
    with limit_of(request.url).request(request.method) as slot:
        answer = type(session).send(session, request)
        slot.status = answer.status_code
        return answer


def _redirected_once(response: Any, request_dict: Mapping[str, Any], operation: Any, **_: Any) -> None:
    """Let botocore not look for the region of a bucket in the answer to a HEAD that was sent to find it.

    It would send that again and again: what redirects without naming a region is no S3, but a website or a gateway.
    """
    if response is None or operation.name != "HeadBucket":
        return
    if "x-amz-bucket-region" not in _lowered(response[0].headers):
        request_dict["context"].setdefault("s3_redirect", {})["redirected"] = True


def _passes(response: Any, error: Any) -> bool:
    """Whether a request that was answered so, or not at all, may succeed soon."""
    from botocore.exceptions import ConnectionError, HTTPClientError

    if response is None:
        ours = isinstance(getattr(error, "kwargs", {}).get("error"), AtdataError)
        return isinstance(error, ConnectionError | HTTPClientError) and not ours
    http, parsed = response
    if http.status_code not in _PASSES and parsed.get("Error", {}).get("Code") not in _PASSES_BY_NAME:
        return False
    return (retry_after.seconds_to_wait(_lowered(http.headers)) or 0.0) <= retry_after.LONGEST_WAIT


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _authorities(profile: str | None) -> str | None:
    """The file of authorities that botocore is told of; None: it finds those that it brings."""
    configured = None if "AWS_CA_BUNDLE" in os.environ else settings_of(profile).ca_bundle
    for name in ("AWS_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        if configured is None and (path := os.environ.get(name)):
            checked_authorities(path, name)
            return path
    if configured is not None:
        checked_authorities(configured, "ca_bundle of the AWS profile")
    return configured


def _check_proxied(request: Any, **_: Any) -> None:
    check_public(request.url, proxied=True)


@cache
def _pools(guarded: bool) -> dict[str, type]:
    """Pools of connections whose answers have bounds.

    ``guarded``: they connect only where ``check_public`` allows, to the very address that was checked.
    """
    from botocore import awsrequest

    def bounded(scheme: str, connection: Any, pool: Any) -> type:
        def connect(self: Any) -> Any:
            name = self._dns_host
            host = f"[{name}]" if ":" in name else name
            # Only the connection is made to the address: certificate and Host header go on naming the host.
            self._dns_host = check_public(f"{scheme}://{host}:{self.port}", proxied=False) or name
            try:
                return connection._new_conn(self)
            finally:
                self._dns_host = name

        def urlopen(self: Any, *args: Any, **options: Any) -> Any:
            answer = pool.urlopen(self, *args, **options)
            pieces = _told(answer, self.host)
            if answer.status >= 300:
                # What breaks off here is translated by botocore; it would read later, where nothing is.
                pieces = iter([b"".join(pieces)])
            # By this botocore reads what is no object.
            answer.stream = lambda: pieces
            return answer

        attributes = {"response_class": _PacedAnswer, **({"_new_conn": connect} if guarded else {})}
        made = type(f"Bounded{connection.__name__}", (connection,), attributes)
        return type(f"Bounded{pool.__name__}", (pool,), {"ConnectionCls": made, "urlopen": urlopen})

    return {
        "http": bounded("http", awsrequest.AWSHTTPConnection, awsrequest.AWSHTTPConnectionPool),
        "https": bounded("https", awsrequest.AWSHTTPSConnection, awsrequest.AWSHTTPSConnectionPool),
    }


def _told(answer: Any, service: str) -> Iterator[bytes]:
    """The body of an answer that is no object; that of an error ends at the bound, for its status says enough."""
    left = _MOST_TOLD
    while piece := answer.read(1 << 16):
        left -= len(piece)
        if left < 0:
            answer.close()
            if answer.status >= 300:
                return
            raise ServiceRefusedError(
                f"{service} answered with more than {_MOST_TOLD:,} bytes where S3 says little. "
                "Check that its address is that of an S3 service.",
                service=service,
                status=answer.status,
                error="too large",
            )
        yield piece
    answer.release_conn()


class _PacedAnswer(HTTPResponse):
    """An answer whose bytes keep to ``ReadRate``, and are no more than headers and a body of this kind may have."""

    def __init__(self, sock: Any, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self._bytes = _PacedBytes(self.fp.detach(), sock.gettimeout() or 60.0)
        self.fp = BufferedReader(self._bytes)

    def begin(self) -> None:
        super().begin()
        # With a length, no more than that is read.
        self._bytes.most = LARGEST_UNSTATED + _MOST_TOLD if self.length is None else None


class _PacedBytes(RawIOBase):
    def __init__(self, inner: Any, silence: float) -> None:
        self.most: int | None = _MOST_TOLD
        self._inner = inner
        self._silence = silence
        self._pace = ReadRate()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        before = time.monotonic()
        count = self._inner.readinto(buffer)
        self._pace.note(time.monotonic() - before, count, self._silence)
        if self.most is not None and self._pace.received > self.most:
            raise TimeoutError(f"it has no end, after {self._pace.received:,} bytes")
        return count

    def close(self) -> None:
        self._inner.close()
        super().close()


def checked_endpoint(endpoint_url: str, source: str) -> str:
    """The address of an S3 service without a slash at its end.

    Args:
        endpoint_url: What was given.
        source: The variable or argument it stood in, for the error.

    Raises:
        CredentialsError: it is no http(s) URL, or carries credentials. The error does not repeat it.
    """
    try:
        parts = urlsplit(endpoint_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, usable = None, False
    if "@" in (parts.netloc if parts else endpoint_url) or (parts and parts.query):
        raise CredentialsError(
            f"{source}: the S3 endpoint carries credentials in its URL. Put them into AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY; the address is published with the shards.",
            source=source,
        )
    if not usable:
        raise CredentialsError(
            f"{source}: the address of an S3 service is a URL such as http://localhost:9000.", source=source
        )
    return endpoint_url.rstrip("/")


def same_service(one: str | None, other: str | None) -> bool:
    """Whether two addresses are of the same S3 service (None is AWS); a machine has several names for itself."""
    if one is None or other is None:
        return one == other
    return _place_of(one) == _place_of(other)


def _place_of(endpoint_url: str) -> tuple[object, ...]:
    parts = urlsplit(endpoint_url)
    host = "127.0.0.1" if parts.hostname in ("localhost", "::1") else parts.hostname
    return (parts.scheme, host, parts.port, parts.path.rstrip("/"))
