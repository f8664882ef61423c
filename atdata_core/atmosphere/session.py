"""The one place where HTTP is spoken to a PDS, with or without a login.

Logins, tokens and their renewal are ``atproto``'s. Requests carry JSON of our own making, because the
typed client drops a ``null`` (``swapRecord``) and turns ``$bytes`` into strings, and replies stay plain JSON.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from atdata_core.atmosphere.failures import of_endless_reply, of_reply, of_transport
from atdata_core.atmosphere.replies import Reply, as_object, encode_json
from atdata_core.errors import AtdataError, LoginError, NotLoggedInError, ServiceRefusedError
from atdata_core.patience import http_hooks, patiently

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        parts = urlsplit(base_url)
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
        self._atproto: Any = None

    def __repr__(self) -> str:
        return f"Session({self.service!r}, did={self.did!r})"

    # -- the account ------------------------------------------------------------------------------

    @property
    def service(self) -> str:
        """URL of the PDS, without a trailing slash."""
        if self._tokens is None:
            return self.base_url
        return cast(str, self._atproto._base_url).removesuffix("/xrpc").rstrip("/")

    @property
    def did(self) -> str | None:
        """DID of the account; None without a login."""
        return None if self._tokens is None else cast(str, self._tokens.did)

    @property
    def handle(self) -> str | None:
        """Handle of the account; None without a login."""
        return None if self._tokens is None else cast(str, self._tokens.handle)

    @property
    def _tokens(self) -> Any:
        return None if self._atproto is None else self._atproto._session

    def login(self, handle: str, password: str) -> None:
        """Open a session.

        Raises:
            LoginError: The PDS does not accept them.
        """
        if not handle or not password:
            raise LoginError(
                f"A login at {self.base_url} needs a handle and an app password. "
                "Give both (ATDATA_HANDLE and ATDATA_APP_PASSWORD in the pipeline).",
                handle=handle,
                service=self.base_url,
            )
        client = self._new_atproto()

        def once() -> None:
            try:
                client.login(handle, password, fetch_bsky_profile=False)
            except Exception as error:
                # `from None`: the request in the cause holds the password.
                raise self._login_failure(error, handle, password) from None

        patiently(once)
        self._atproto = client

    def resume(self, exported: str) -> None:
        """Take up an exported session, and make sure that it still stands.

        Raises:
            LoginError: It is no session string, or it has ended.
        """
        client = self._new_atproto()
        try:
            client.login(session_string=exported, fetch_bsky_profile=False)
        except Exception:
            raise LoginError(
                "This is no session string as export_session() gives it. Log in with handle and app password.",
                handle=None,
                service=self.base_url,
            ) from None
        before, self._atproto = self._atproto, client
        try:
            self.call("GET", "com.atproto.server.getSession", auth=True)
        except Exception:
            self._atproto = before
            raise

    def export(self) -> str:
        """The session as a string for ``resume``. It is a secret.

        Raises:
            NotLoggedInError: There is none.
        """
        self._need_login("export_session")
        return cast(str, self._atproto.export_session_string())

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
    ) -> Reply:
        """One request, its answer as bytes; raises as ``call`` does. Redirects are not followed.

        With ``guarded`` the URL came from the network: a private address that is not configured raises
        ``PrivateAddressError``.
        """
        if auth:
            self._need_login(url.rpartition("/")[2])
            self._renew(force=False)
        headers = {"Content-Type": content_type} if content is not None and content_type else {}
        given = {key: value for key, value in (params or {}).items() if value is not None}

        def once() -> Reply:
            if auth:
                headers["Authorization"] = f"Bearer {self._tokens.access_jwt}"
            status, answer = self._exchange(method, url, given, content, headers, guarded)
            if status < 300:
                return answer
            raise of_reply(url, status, answer.headers, answer.body)

        for attempt in (1, 2):
            try:
                return patiently(once)
            except ServiceRefusedError as failure:
                if not auth or failure.error not in _ENDED:
                    raise
                if attempt == 2 or failure.error != "ExpiredToken":
                    raise self._session_ended() from None
            self._renew(force=True)  # the request was refused before it did anything
        raise AssertionError("unreachable")

    def _exchange(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any],
        content: bytes | None,
        headers: Mapping[str, str],
        guarded: bool,
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
                    if len(received) > MAX_REPLY:
                        raise of_endless_reply(url, MAX_REPLY)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise of_transport(url, error) from None
        return response.status_code, Reply(bytes(received), dict(response.headers))

    def _pin(self, request: httpx.Request) -> None:
        """Hold a request to the address that was checked: the name could lead elsewhere the next time."""
        from atdata_core.access.private import check_public

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
                # Nobody closes a client: its connections end with it.
                weakref.finalize(self, self._http.close)
            return self._http

    # -- atproto underneath -----------------------------------------------------------------------

    def _new_atproto(self) -> Any:
        import httpx
        from atproto import Client, Request  # pyright: ignore[reportMissingTypeStubs]

        timeout = httpx.Timeout(self._timeout[0], connect=self._timeout[1])
        request = Request(timeout=timeout, transport=self._transport, event_hooks=http_hooks())
        weakref.finalize(self, request.close)
        client = Client(self.base_url, request=request)
        # A service whose DID documents name an unreachable or private PDS is still asked where it is.
        client.on_session_change(lambda _event, session: self._keep_reachable(client, session.pds_endpoint))
        return client

    def _keep_reachable(self, client: Any, endpoint: str | None) -> None:
        from atdata_core.access.private import check_public

        try:
            check_public(endpoint or self.base_url, configured=(self.base_url,))
        except AtdataError:
            client.update_base_url(self.base_url)

    def _renew(self, *, force: bool) -> None:
        """Renew the tokens where they are about to expire, once for all threads."""
        before = self._tokens.access_jwt
        with self._atproto._refresh_lock:
            if self._tokens.access_jwt != before:
                return
            try:
                due = force or self._atproto._should_refresh_session()
            except Exception:
                due = False  # a token whose end cannot be read: the service will say
            if not due:
                return

            def once() -> None:
                try:
                    # After a lost answer with the same refresh token: a PDS takes it for a while longer.
                    self._atproto._refresh_and_set_session()
                except Exception as error:
                    failure = self._translated(error, "com.atproto.server.refreshSession")
                    if isinstance(failure, ServiceRefusedError):
                        raise self._session_ended() from None
                    raise failure from None

            patiently(once)

    def _need_login(self, what: str) -> None:
        if self._tokens is None:
            raise NotLoggedInError(
                f"{what} needs a login. Call login(handle, app_password) on the client first "
                "(ATDATA_HANDLE and ATDATA_APP_PASSWORD in the pipeline)."
            )

    def _session_ended(self) -> LoginError:
        return LoginError(
            f"The session of {self.handle} at {self.service} has ended. Log in again with handle and app password.",
            handle=self.handle,
            service=self.service,
        )

    def _login_failure(self, error: Exception, handle: str, password: str) -> Exception:
        failure = self._translated(error, "com.atproto.server.createSession")
        if not isinstance(failure, AtdataError):
            return failure
        # A service that repeats what it was sent must not make us show it.
        message = failure.message.replace(password, "***")
        if not isinstance(failure, ServiceRefusedError) or failure.status not in (400, 401, 403):
            return type(failure)(message, **failure.facts)
        return LoginError(
            f"Wrong handle or app password of {handle!r} for {self.base_url} "
            f"({message.rpartition('It answered ')[2].rstrip('.')}). "
            "Check ATDATA_HANDLE and ATDATA_APP_PASSWORD, or make a new app password.",
            handle=handle,
            service=self.base_url,
        )

    def _translated(self, error: Exception, nsid: str) -> Exception:
        """An exception of ``atproto`` as one of ours; one that is none of its own comes back as it is."""
        import httpx
        from atproto import exceptions  # pyright: ignore[reportMissingTypeStubs]

        url = f"{self.base_url}/xrpc/{nsid}"
        if isinstance(error, httpx.HTTPError | httpx.InvalidURL):
            return of_transport(url, error)
        if not isinstance(error, exceptions.AtProtocolError):
            return error
        response: Any = getattr(error, "response", None)
        if response is None:
            return of_transport(url, error.__cause__ or error)
        words = {name: str(getattr(response.content, name, "") or "") for name in ("error", "message")}
        return of_reply(url, response.status_code, response.headers, encode_json(words))


_ENDED = ("ExpiredToken", "InvalidToken", "AuthMissing", "AuthenticationRequired", "BadJwt")
