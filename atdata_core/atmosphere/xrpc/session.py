"""One request to a PDS and its answer, with or without a login. The one place where HTTP is spoken to a PDS.

Logins, tokens and their renewal are ``atproto``'s. Requests carry JSON of our own making, because the
typed client drops a ``null`` (``swapRecord``) and turns ``$bytes`` into strings, and replies stay plain JSON.
"""

from __future__ import annotations

import contextlib
import json
import threading
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast
from urllib.parse import urlsplit

from atdata_core.atmosphere.xrpc.account import Account
from atdata_core.atmosphere.xrpc.answers import MAX_REPLY, of_reply, of_transport, read_body, refused
from atdata_core.atmosphere.xrpc.login_errors import of_account
from atdata_core.atmosphere.xrpc.write_budget import budget_of, is_upload, points_of
from atdata_core.common import retry_after
from atdata_core.common.concurrency import THREADS, limit_of
from atdata_core.errors import RateLimitedError, ServiceRefusedError
from atdata_core.stores.http_transport import environment_transport

if TYPE_CHECKING:
    import httpx

CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 30.0

AS_SENT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
"""JSON as requests carry it: compact, in UTF-8."""

_ENDED = ("ExpiredToken", "InvalidToken", "AuthMissing", "AuthenticationRequired", "BadJwt")


class _Answer(NamedTuple):
    """``headers`` with lower-case names; ``body`` as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Session:
    """A PDS, and the ``account`` that is logged in there, if any.

    Requests go to ``account.service``: ``base_url``, until a login names the account's own PDS.
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
            raise refused(
                "The URL of a PDS looks like https://bsky.social, without user or password. "
                "Mend ATDATA_PDS_URL or base_url.",
                parts.hostname,
                None,
            )
        self.base_url = base_url.rstrip("/")
        self._transport = transport
        self._timeout = (timeout or READ_TIMEOUT, timeout or CONNECT_TIMEOUT)
        self._lock = threading.Lock()
        self._http: httpx.Client | None = None
        self.account = self._nobody()

    def _nobody(self) -> Account:
        return Account(self.base_url, timeout=self._timeout, transport=self._transport)

    def __repr__(self) -> str:
        return f"Session({self.account.service!r}, did={self.account.did!r})"

    def resume(self, exported: str) -> None:
        """Take up an exported session, and make sure that it still stands.

        Raises:
            LoginError: It is no session string, or it has ended.
        """
        before, self.account = self.account, self._nobody()
        try:
            self.account.resume(exported)
            self.call("GET", "com.atproto.server.getSession", auth=True)
        except Exception:
            self.account = before
            raise

    # -- a request --------------------------------------------------------------------------------

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
        url = f"{service or self.account.service}/xrpc/{nsid}"
        content = None if body is None else AS_SENT.encode(body).encode()
        mime = None if body is None else "application/json"
        guarded = service is not None
        return as_object(
            self.send(
                method, url, params=params, content=content, mime=mime, auth=auth, guarded=guarded, write=body
            ),
            url,
        )

    def send(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, Any] | None = None,
        content: bytes | BinaryIO | None = None,
        mime: str | None = None,
        auth: bool = False,
        guarded: bool = False,
        write: Any = None,
        most: int = MAX_REPLY,
    ) -> bytes:
        """One request; its answer, ``most`` bytes. Raises as ``call`` does. Redirects are not followed.

        With ``guarded`` the URL came from the network: a private address that is not configured raises
        ``PrivateAddressError``. ``write`` is the body that may cost write points of the account; it waits for them.
        A file as ``content`` is sent from its beginning at each attempt.
        """
        token: str | None = None
        headers: dict[str, str] = {"Content-Type": mime} if mime else {}
        given = {key: value for key, value in (params or {}).items() if value is not None}
        asked = {"method": method, "url": url, "params": given or None, "content": content, "headers": headers}
        account = self.account.did or "" if auth else ""
        what = url.rpartition("/")[2]

        def exchange() -> _Answer:
            nonlocal token
            if token is not None:
                # Again: a write may have waited for points for longer than a token is good for.
                token = self.account.token(what)
                headers["Authorization"] = f"Bearer {token}"
            return self._exchange(asked, account, guarded=guarded, most=most)

        def once() -> bytes:
            answer = exchange() if write is None else self._charged(url, write, exchange)
            if answer.status < 300:
                return answer.body
            raise of_reply(url, *answer)

        for attempt in (1, 2):
            token = self.account.token(what) if auth else None
            try:
                return retry_after.with_retries(once)
            except ServiceRefusedError as failure:
                if token is not None and (inactive := of_account(failure, self.account.handle or "")):
                    raise inactive from None
                if token is None or failure.error not in _ENDED:
                    raise
                if attempt == 2:
                    raise self.account.ended() from None
                expired = failure.error == "ExpiredToken"
            self.account.renew(token, expired=expired)  # the request was refused before it did anything
        raise AssertionError("unreachable")

    def _charged(self, url: str, write: Any, exchange: Callable[[], _Answer]) -> _Answer:
        """A write, once the account has points left for it; a refusal that tells of points is waited out."""
        method = url.rpartition("/")[2]
        uploads = is_upload(method)
        budget = budget_of(self.account.did or "", self.account.service, uploads=uploads)
        points = 1 if uploads else points_of(method, write)
        while True:
            budget.take(points, url)
            try:
                answer = exchange()
            except RateLimitedError:
                # The gate of the service, which the answer to another thread's write has closed.
                if not budget.is_closed():
                    raise
                continue
            if answer.status != 429 or not budget.learn(answer.headers):
                return answer

    # -- its answer -------------------------------------------------------------------------------

    def _exchange(self, asked: dict[str, Any], account: str, *, guarded: bool, most: int) -> _Answer:
        """A request and its answer, once the gate is open; ``account``: whose it is, empty without a login."""
        import httpx

        url = asked["url"]
        client = self._client()
        try:
            if not isinstance(asked["content"], bytes | None):
                asked["content"].seek(0)
            request = client.build_request(**asked)
            gate = retry_after.gate_of(str(request.url), account)
            if guarded:
                self._pin(request)
            retry_after.ours.wait(gate)
            with (
                limit_of(url).request(request.method) as slot,
                contextlib.closing(client.send(request, stream=True)) as response,
            ):
                slot.status = response.status_code
                headers = dict(response.headers)
                retry_after.note_answer(gate, response.status_code, headers)
                body = read_body(response, url, silence=self._timeout[0], most=most)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise of_transport(url, error) from None
        return _Answer(response.status_code, headers, body)

    def _pin(self, request: httpx.Request) -> None:
        """Hold a request to the address that was checked: the name could lead elsewhere the next time."""
        from atdata_core.stores.private_addresses import check_public

        address = check_public(str(request.url), configured=(self.base_url, self.account.service))
        if address is not None:
            request.extensions["sni_hostname"] = request.url.raw_host.decode("ascii")
            request.url = request.url.copy_with(host=address)  # the Host header keeps the name

    def _client(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._http is None:
                limits = httpx.Limits(max_connections=None, max_keepalive_connections=THREADS)
                self._http = httpx.Client(
                    timeout=httpx.Timeout(self._timeout[0], connect=self._timeout[1]),
                    transport=self._transport or environment_transport(limits),
                )
                # Nobody closes a client: its connections end with it; a given transport is its giver's.
                if self._transport is None:
                    weakref.finalize(self, self._http.close)
            return self._http


def as_object(body: bytes, url: str) -> dict[str, Any]:
    """The JSON object that an answer holds.

    Raises:
        ServiceRefusedError: It is none: something else than the expected service answers at this URL.
    """
    try:
        value: Any = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        service = url.partition("/xrpc/")[0]
        raise refused(
            f"{service} answered {url} with something else than a JSON object. Is this the right address?", service
        )
    return cast("dict[str, Any]", value)
