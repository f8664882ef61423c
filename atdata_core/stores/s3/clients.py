"""Clients of boto3, made once per process and endpoint, and shared by all threads.

They wait at the gates of ``retry_after`` and send again what may soon succeed. One whose address came from the
network connects to public addresses alone. Keys that are not given are found by boto3's own ways in the AWS
configuration of this machine (``AWS_*``, ``~/.aws``), in sessions that are made once per process and profile: these
renew the keys of roles and of single sign-on.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ...common import retry_after
from ...common.network_settings import checked_authorities, proxy_of, settings
from ...errors import CredentialsError, NetworkSettingsError, PrivateAddressError
from ...secrets import keep_secret
from ..private_addresses import check_public

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUntypedBaseClass=false, reportAttributeAccessIssue=false, reportUnknownArgumentType=false
# boto3 comes without types.

_POOL = 64
"""Connections a client keeps: more than the threads that copy at a time."""
_MOST_CLIENTS = 16
"""Records of others may name as many endpoints as they like, and a client takes some megabytes."""
SLOW = {"SlowDown", "TooManyRequests", "RequestLimitExceeded", "Throttling", "ThrottlingException"}
"""Names of errors by which a service asks to slow down."""
_ISSUED = 16
"""Characters of an access key that a service made up; a shorter one is a name that somebody chose."""
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
    key = (os.getpid(), endpoint, attempts, style, _variables() if asks_chain else (), settings())
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
        max_pool_connections=_POOL,
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
    if endpoint.guarded:
        _guard(client, proxied=proxy is not None)
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
        guarded = isinstance(getattr(error, "kwargs", {}).get("error"), PrivateAddressError)
        return isinstance(error, ConnectionError | HTTPClientError) and not guarded
    http, parsed = response
    if http.status_code not in _PASSES and parsed.get("Error", {}).get("Code") not in _PASSES_BY_NAME:
        return False
    return (retry_after.seconds_to_wait(_lowered(http.headers)) or 0.0) <= retry_after.LONGEST_WAIT


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _authorities(profile: str | None) -> str | None:
    """The file of authorities that botocore is told of; None: it finds those that it brings."""
    configured = None if "AWS_CA_BUNDLE" in os.environ else settings_of(profile).ca_bundle
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
        if configured is None and (path := os.environ.get(name)):
            checked_authorities(path, name)
            return path
    if configured is not None:
        checked_authorities(configured, "ca_bundle of the AWS profile")
    return configured


def _guard(client: Any, *, proxied: bool) -> None:
    """Let a boto3 client connect only where ``check_public`` allows, to the very address that was checked."""
    if proxied:
        # The connection is one to the proxy: what is asked of it is looked at.
        client.meta.events.register_first("before-send.s3", _check_proxied)
        return
    client._endpoint.http_session._manager.pool_classes_by_scheme = _guarded_pools()


def _check_proxied(request: Any, **_: Any) -> None:
    check_public(request.url, proxied=True)


@cache
def _guarded_pools() -> dict[str, type]:
    from botocore import awsrequest

    def guarded(scheme: str, connection: Any, pool: Any) -> type:
        def connect(self: Any) -> Any:
            name = self._dns_host
            host = f"[{name}]" if ":" in name else name
            # Only the connection is made to the address: certificate and Host header go on naming the host.
            self._dns_host = check_public(f"{scheme}://{host}:{self.port}", proxied=False) or name
            try:
                return connection._new_conn(self)
            finally:
                self._dns_host = name

        made = type(f"Guarded{connection.__name__}", (connection,), {"_new_conn": connect})
        return type(f"Guarded{pool.__name__}", (pool,), {"ConnectionCls": made})

    return {
        "http": guarded("http", awsrequest.AWSHTTPConnection, awsrequest.AWSHTTPConnectionPool),
        "https": guarded("https", awsrequest.AWSHTTPSConnection, awsrequest.AWSHTTPSConnectionPool),
    }


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


# -- the AWS configuration of this machine -------------------------------------------------------------


class ProfileSettings(NamedTuple):
    """Of a profile, what an S3 client needs besides keys; None where it says nothing."""

    endpoint_url: str | None = None
    region: str | None = None
    addressing_style: str | None = None
    ca_bundle: str | None = None


def client_of(profile: str | None, **options: Any) -> Any:
    """A boto3 client for S3 of a profile (None: ``AWS_PROFILE``, else ``[default]``); raises as botocore does."""
    with _making:
        return _sessions(profile).boto3.client("s3", **options)


def _sessions(profile: str | None) -> _Sessions:
    # By process: a forked worker must not share its parent's connections. By variables: they may be set later.
    return _made(os.getpid(), profile, _variables())


def _variables() -> tuple[tuple[str, str], ...]:
    """Those of the environment that say where keys are found."""
    return tuple(sorted(each for each in os.environ.items() if each[0].startswith("AWS_")))


class _Sessions(NamedTuple):
    botocore: Any
    boto3: Any


# Neither makes clients in several threads at once.
_making = threading.RLock()


@lru_cache(16)
def _made(_process: int, profile: str | None, _variables: tuple[tuple[str, str], ...]) -> _Sessions:
    import boto3.session
    import botocore.session

    session = botocore.session.Session(profile=profile)
    session.register_component("data_loader", _loader())
    return _Sessions(session, boto3.session.Session(botocore_session=session))


@cache
def _loader() -> Any:
    # What botocore knows of S3 takes 6 MB and a tenth of a second: once for all clients.
    from botocore.loaders import create_loader

    return create_loader()


def has_credentials(profile: str | None) -> bool:
    """Whether boto3's chain leads to keys: variables, profile, role, single sign-on, container, machine.

    True also where the chain is broken: whoever sends a request with it is told how.
    """
    from botocore.exceptions import BotoCoreError

    try:
        with _making:
            return _sessions(profile).botocore.get_credentials() is not None
    except BotoCoreError:
        return True


def settings_of(profile: str | None) -> ProfileSettings:
    """The settings of a profile for S3; none where the configuration cannot be read, as a request will say."""
    from botocore.exceptions import BotoCoreError

    try:
        session = _sessions(profile).botocore
        scoped, services = session.get_scoped_config(), session.full_config.get("services", {})
        ignored = session.get_config_variable("ignore_configured_endpoint_urls")
        region = session.get_config_variable("region")
        ca_bundle = session.get_config_variable("ca_bundle")
    except BotoCoreError:
        return ProfileSettings()
    of_service = services.get(scoped.get("services"), {}).get("s3", {})
    # A section that is written on one line is text.
    of_s3 = scoped.get("s3", {})
    return ProfileSettings(
        endpoint_url=None if ignored else of_service.get("endpoint_url") or scoped.get("endpoint_url"),
        region=region,
        addressing_style=of_s3.get("addressing_style") if isinstance(of_s3, dict) else None,
        ca_bundle=ca_bundle,
    )
