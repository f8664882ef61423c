"""The one place where HTTP is spoken to a PDS, with or without a login.

Logins, tokens and their renewal are ``atproto``'s. Requests carry JSON of our own making, because the
typed client drops a ``null`` (``swapRecord``) and turns ``$bytes`` into strings, and replies stay plain JSON.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from atdata_core.atmosphere.xrpc.account import Account
from atdata_core.atmosphere.xrpc.replies import (
    Reply,
    as_object,
    encode_json,
    of_endless_reply,
    of_reply,
    of_transport,
)
from atdata_core.atmosphere.xrpc.write_budget import budget_of, points_of
from atdata_core.common.retry_after import http_hooks, with_retries
from atdata_core.errors import RateLimitedError, ServiceRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpx

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 30.0
MAX_REPLY = 1 << 26
"""Bytes (64 MiB): more than a blob or a page of the largest records; a hostile service may send for ever."""


class Session:
    """A PDS, and the account that is logged in there, if any.

    ``service`` is the URL that requests go to: ``base_url``, until a login names the account's own PDS.
    ``timeout`` (seconds) holds for connecting and for each silence of the service.

    Every request may be sent again after a failure that can pass: reads, writes that say what they replace,
    deletions, blobs (named by their content) and logins do no harm twice. A write whose answer is lost and
    one that is refused look alike when repeated; ``AtmosphereClient`` tells them apart by reading back.
    """

    def __init__(
        self, base_url: str, *, transport: httpx.BaseTransport | None = None, timeout: float | None = None
    ) -> None:
        try:
            parts = urlsplit(base_url)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ServiceRefusedError(
                "The URL of a PDS looks like https://bsky.social, without user or password. "
                "Mend ATDATA_PDS_URL or base_url.",
                service=parts.hostname,
                status=None,
                error=None,
            )
        self.base_url = base_url.rstrip("/")
        self._transport = transport
        self._timeout = (timeout or READ_TIMEOUT, timeout or CONNECT_TIMEOUT)
        self._lock = threading.Lock()
        self._http: httpx.Client | None = None
        self._account = self._nobody()

    def _nobody(self) -> Account:
        return Account(self.base_url, timeout=self._timeout, transport=self._transport)

    def __repr__(self) -> str:
        return f"Session({self.service!r}, did={self.did!r})"

    # -- the account ------------------------------------------------------------------------------

    @property
    def service(self) -> str:
        """URL of the PDS, without a trailing slash."""
        return self._account.service

    @property
    def did(self) -> str | None:
        """DID of the account; None without a login."""
        return self._account.did

    @property
    def handle(self) -> str | None:
        """Handle of the account; None without a login."""
        return self._account.handle

    def login(self, handle: str, password: str, *, shared: bool = False) -> None:
        """Open a session; ``shared``: or take up the one of this machine, without a request.

        Raises:
            LoginError: The PDS does not accept them.
        """
        self._account.login(handle, password, shared=shared)

    def resume(self, exported: str) -> None:
        """Take up an exported session, and make sure that it still stands.

        Raises:
            LoginError: It is no session string, or it has ended.
        """
        before, self._account = self._account, self._nobody()
        try:
            self._account.resume(exported)
            self.call("GET", "com.atproto.server.getSession", auth=True)
        except Exception:
            self._account = before
            raise

    def export(self) -> str:
        """The session as a string for ``resume``. It is a secret.

        Raises:
            NotLoggedInError: There is none.
        """
        return self._account.export()

    # -- requests ---------------------------------------------------------------------------------

    def call(
        self,
        method: str,
        nsid: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        auth: bool = False,
        service: str | None = None,
    ) -> dict[str, Any]:
        """Call an XRPC method; its answer as plain JSON.

        Args:
            method: ``"GET"`` for a query, ``"POST"`` for a procedure.
            nsid: Name of the method.
            params: Query parameters; those that are None are left out.
            body: JSON value to send.
            auth: Send it as the account that is logged in.
            service: URL of another PDS, which came from the network: asked without a login, and only where
                its address is public or configured.

        Raises:
            NotLoggedInError: ``auth`` without a login.
            LoginError: The session has ended.
            ServiceUnavailableError: Timeout, dropped connection, 5xx.
            RateLimitedError: 429.
            ServiceRefusedError: Any other refusal; ``error`` is its name.
        """
        content = None if body is None else encode_json(body)
        url = f"{service or self.service}/xrpc/{nsid}"
        reply = self.send(
            method,
            url,
            params=params,
            content=content,
            content_type="application/json",
            auth=auth,
            guarded=service is not None,
            points=points_of(nsid, body) if auth else 0,
        )
        return as_object(reply, url)

    def send(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        content_type: str | None = None,
        auth: bool = False,
        guarded: bool = False,
        points: int = 0,
        most: int = MAX_REPLY,
    ) -> Reply:
        """One request, its answer of ``most`` bytes; raises as ``call`` does. Redirects are not followed.

        With ``guarded`` the URL came from the network: a private address that is not configured raises
        ``PrivateAddressError``. ``points`` is what it costs of the account's write points; it waits for them.
        """
        if auth:
            self._account.need(url.rpartition("/")[2])
        headers = {"Content-Type": content_type} if content is not None and content_type else {}
        given = {key: value for key, value in (params or {}).items() if value is not None}

        def once() -> Reply:
            if token:
                headers["Authorization"] = f"Bearer {token}"
            exchange = partial(self._exchange, method, url, given, content, headers, guarded, most)
            status, answer = self._charged(points, url, exchange) if points else exchange()
            if status < 300:
                return answer
            raise of_reply(url, status, answer.headers, answer.body)

        for attempt in (1, 2):
            token = self._account.token() if auth else None
            try:
                return with_retries(once)
            except ServiceRefusedError as failure:
                if token is None or failure.error not in _ENDED:
                    raise
                if attempt == 2:
                    raise self._account.ended() from None
                expired = failure.error == "ExpiredToken"
            self._account.renew(token, expired=expired)  # the request was refused before it did anything
        raise AssertionError("unreachable")

    def _charged(self, points: int, url: str, exchange: Callable[[], tuple[int, Reply]]) -> tuple[int, Reply]:
        """A write, once the account has points left for it; a refusal that tells of points is waited out."""
        budget = budget_of(self.did or "", self.service)
        while True:
            budget.take(points, url)
            try:
                status, answer = exchange()
            except RateLimitedError:
                # The gate of the service, which the answer to another thread's write has closed.
                if not budget.is_closed():
                    raise
                continue
            if status != 429 or not budget.learn(answer.headers):
                return status, answer

    def _exchange(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any],
        content: bytes | None,
        headers: Mapping[str, str],
        guarded: bool,
        most: int,
    ) -> tuple[int, Reply]:
        import httpx

        client = self._client()
        try:
            request = client.build_request(
                method, url, params=dict(params) or None, content=content, headers=dict(headers)
            )
            if guarded:
                self._pin(request)
            response = client.send(request, stream=True)
            with contextlib.closing(response):
                received = bytearray()
                for chunk in response.iter_bytes():
                    received += chunk
                    if len(received) > most:
                        raise of_endless_reply(url, most)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise of_transport(url, error) from None
        return response.status_code, Reply(bytes(received), dict(response.headers))

    def _pin(self, request: httpx.Request) -> None:
        """Hold a request to the address that was checked: the name could lead elsewhere the next time."""
        from atdata_core.stores.private_addresses import check_public

        address = check_public(str(request.url), configured=(self.base_url, self.service))
        if address is not None:
            request.extensions["sni_hostname"] = request.url.raw_host.decode("ascii")
            request.url = request.url.copy_with(host=address)  # the Host header keeps the name

    def _client(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._http is None:
                self._http = httpx.Client(
                    timeout=httpx.Timeout(self._timeout[0], connect=self._timeout[1]),
                    transport=self._transport,
                    event_hooks=http_hooks(),
                    limits=httpx.Limits(max_connections=64, max_keepalive_connections=16),
                )
                # Nobody closes a client: its connections end with it; a given transport is its giver's.
                if self._transport is None:
                    weakref.finalize(self, self._http.close)
            return self._http


_ENDED = ("ExpiredToken", "InvalidToken", "AuthMissing", "AuthenticationRequired", "BadJwt")
