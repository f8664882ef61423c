"""Who is logged in at a PDS. To log in, and to renew tokens, is ``atproto``'s."""

from __future__ import annotations

import json
import threading
import weakref
from typing import TYPE_CHECKING, Any, cast

from atdata_core.atmosphere.xrpc.answers import of_reply, of_transport, read_body, refused
from atdata_core.atmosphere.xrpc.atproto_package import needed_for
from atdata_core.atmosphere.xrpc.identifiers import plain_identifier, plain_password
from atdata_core.atmosphere.xrpc.login_errors import of_account, of_login, of_state, too_many_logins
from atdata_core.atmosphere.xrpc.session_sharing import LoginLimit, SessionFile, Tokens, is_near_its_end
from atdata_core.common.retry_after import LONGEST_WAIT, http_hooks, with_retries
from atdata_core.errors import (
    AtdataError,
    LoginError,
    NotLoggedInError,
    RateLimitedError,
    ServiceRefusedError,
)
from atdata_core.secrets import keep_secret
from atdata_core.stores.http_transport import environment_transport

if TYPE_CHECKING:
    import httpx

_SEPARATOR = ":::"
"""Of the parts of a session string."""


class Account:
    """An account of a PDS, or none yet.

    Args:
        base_url: URL of the service that takes the login, without a trailing slash.
        timeout: Seconds to wait for an answer, and for a connection.
        transport: Replaces the network, in tests.
    """

    def __init__(
        self, base_url: str, *, timeout: tuple[float, float], transport: httpx.BaseTransport | None = None
    ) -> None:
        self._base_url = base_url
        self._timeout = timeout
        self._transport = transport
        self._renewing = threading.Lock()
        self.service = base_url
        """URL of the account's own PDS, without a trailing slash; of the service while there is no login."""
        self.did: str | None = None
        """DID of the account; None without a login."""
        self.handle: str | None = None
        """Handle of the account; None without a login."""
        self._tokens: Tokens | None = None
        self._atproto: Any = None
        """Its client with those tokens; None where they were only taken up: it takes a third of a second to load,
        and is needed where a session is begun or renewed."""
        self._file: SessionFile | None = None
        self._last_resort: str | None = None
        """The access token after a new login took the place of an ended session, or failed to."""

    def __repr__(self) -> str:
        return f"Account(did={self.did!r})"

    @property
    def _access(self) -> str:
        return cast(Tokens, self._tokens).access

    # -- beginning a session ----------------------------------------------------------------------

    def login(self, handle: str, password: str, *, shared: bool) -> None:
        """Open a session, or take up the one that the processes of this machine share.

        What is around handle and password and belongs to neither is taken off.

        Raises:
            LoginError: The PDS does not accept them, or the account is not active.
            RateLimitedError: It takes no more logins of this account for now.
        """
        try:
            f"{handle}{password}".encode()
        except UnicodeEncodeError:
            raise LoginError(
                "The handle or the app password holds bytes that are no UTF-8. Type it anew (ATDATA_HANDLE and "
                "ATDATA_APP_PASSWORD in the pipeline).",
                handle=None,
                service=self._base_url,
            ) from None
        keep_secret(password)
        handle, password = plain_identifier(handle), plain_password(password)
        if not handle or not password:
            raise LoginError(
                f"A login at {self._base_url} needs a handle and an app password. "
                "Give both (ATDATA_HANDLE and ATDATA_APP_PASSWORD in the pipeline).",
                handle=handle,
                service=self._base_url,
            )
        keep_secret(password)
        if not any(mark in handle for mark in ".@:"):
            raise LoginError(
                f"{handle!r} is no whole handle. Give it with its domain, such as {handle}.bsky.social.",
                handle=handle,
                service=self._base_url,
            )
        if not shared:
            self._use(self._logged_in(handle, password))
            self._file = None
            return
        file = SessionFile(self._base_url, handle, password)
        found = file.of_password()
        if found is None:
            with file.locked():
                # Others may have waited for the same lock, and one of them has logged in.
                found = file.of_password()
                if found is None:
                    client = self._logged_in(handle, password)
                    file.keep(_tokens_of(client))
                    self._file = file
                    self._use(client)
                    return
        self._take_up(found)
        self._file = file

    def resume(self, exported: str) -> None:
        """Take up an exported session; asks nobody whether it still stands.

        Raises:
            LoginError: It is no session string.
        """
        try:
            tokens = _tokens_in(exported)
        except ValueError:
            raise LoginError(
                "This is no session string as export_session() gives it. Log in with handle and app password.",
                handle=None,
                service=self._base_url,
            ) from None
        self._take_up(tokens)

    def export(self) -> str:
        """The session as a string for ``resume``. It is a secret."""
        self._need("export_session")
        return _SEPARATOR.join(cast(Tokens, self._tokens))

    def _use(self, client: Any) -> None:
        self._take_up(_tokens_of(client))
        self._atproto = client

    def _take_up(self, tokens: Tokens) -> None:
        self._tokens, self._atproto = tokens, None
        self.did, self.handle = tokens.did, tokens.handle
        service = tokens.pds if self._is_reachable(tokens.pds) else self._base_url
        self.service = service.rstrip("/").removesuffix("/xrpc").rstrip("/")

    # -- using it ---------------------------------------------------------------------------------

    def _need(self, what: str) -> None:
        if self.did is None:
            raise NotLoggedInError(
                f"{what} needs a login. Call login(handle, app_password) on the client first "
                "(ATDATA_HANDLE and ATDATA_APP_PASSWORD in the pipeline)."
            )

    def token(self, what: str) -> str:
        """The access token, renewed where it is about to expire.

        Raises:
            NotLoggedInError: Nobody is logged in; ``what`` would need it.
            LoginError: The session has ended.
        """
        self._need(what)
        used = self._access
        if is_near_its_end(used):
            self._renew(used, refresh=True)
        return self._access

    def renew(self, used: str, *, expired: bool) -> None:
        """Get another access token for one that the PDS refused.

        Args:
            used: The one that was refused.
            expired: It was only too old.

        Raises:
            LoginError: The session has ended.
        """
        if not expired and self._file is None:
            raise self.ended()
        self._renew(used, refresh=expired)

    def ended(self) -> LoginError:
        """The error that tells that the session does not stand any more."""
        return LoginError(
            f"The session of {self.handle} at {self.service} has ended. Log in again with handle and app password.",
            handle=self.handle,
            service=self.service,
        )

    def _renew(self, used: str, *, refresh: bool) -> None:
        with self._renewing:
            if self._access != used:
                return  # another thread was here
            if self._file is None:
                self._refresh()
                return
            with self._file.locked():
                if self._taken_from_file(used):
                    return  # another process was here
                if refresh and self._refreshed():
                    self._file.keep_renewed(cast(Tokens, self._tokens))
                else:
                    self._log_in_anew(self._file)

    def _taken_from_file(self, used: str) -> bool:
        """Whether the file had newer tokens, which are as good as new ones."""
        found = self._file.of_account(cast(str, self.did)) if self._file else None
        if found is None or found == self._tokens:
            return False
        self._take_up(found)
        return found.access != used and not is_near_its_end(found.access)

    def _refreshed(self) -> bool:
        try:
            self._refresh()
        except LoginError:
            return False
        return True

    def _log_in_anew(self, file: SessionFile) -> None:
        """Once: a service that refuses what it has just given, or this password, would be asked for ever."""
        if self._access == self._last_resort:
            raise self.ended()
        file.drop()
        try:
            self._use(self._logged_in(file.login, file.password))
        except LoginError:
            self._last_resort = self._access
            raise
        self._last_resort = self._access
        file.keep(cast(Tokens, self._tokens))

    # -- atproto underneath -----------------------------------------------------------------------

    def _client(self, login: str) -> Any:
        """``login``: whose requests it sends, by what they are counted."""
        import httpx

        with needed_for("A login"):
            from atproto import Client, Request  # pyright: ignore[reportMissingTypeStubs]

        timeout = httpx.Timeout(self._timeout[0], connect=self._timeout[1])
        hooks = http_hooks(login)
        hooks["response"].append(self._read)
        transport = self._transport or environment_transport()
        request = Request(timeout=timeout, transport=transport, event_hooks=hooks)
        http: Any = cast("Any", request)._client
        http.follow_redirects = False  # a password is for this service, not for wherever it points
        client = Client(self._base_url, request=request)
        # Nobody closes a client: its connections end with it. (The request itself knows the client, and would
        # keep it.) A given transport is its giver's, and in use: closing it waits for a lock that this very
        # thread may hold.
        if self._transport is None:
            weakref.finalize(client, http.close)
        # A service whose DID documents name an unreachable or private PDS is still asked where it is.
        client.on_session_change(lambda _event, session: self._keep_reachable(client, session.pds_endpoint))
        return client

    def _client_of_session(self) -> Any:
        tokens = cast(Tokens, self._tokens)
        if self._atproto is None:
            client = self._client(tokens.handle)
            client.login(session_string=_SEPARATOR.join(tokens), fetch_bsky_profile=False)
            self._atproto = client
        return self._atproto

    def _read(self, response: httpx.Response) -> None:
        """Reads an answer within bounds, before ``atproto`` takes what there is of it."""
        cast("Any", response)._content = read_body(response, str(response.url), silence=self._timeout[0])

    def _keep_reachable(self, client: Any, endpoint: str | None) -> None:
        if not self._is_reachable(endpoint):
            client.update_base_url(self._base_url)

    def _is_reachable(self, endpoint: str | None) -> bool:
        from atdata_core.stores.private_addresses import check_public

        try:
            check_public(endpoint or self._base_url, configured=(self._base_url,))
        except AtdataError:
            return False
        return True

    def _logged_in(self, handle: str, password: str) -> Any:
        limit = LoginLimit(self._base_url, handle)
        if (seconds := limit.seconds()) > 0:
            raise too_many_logins(self._base_url, handle, seconds)
        client = self._client(handle)

        def once() -> Any:
            try:
                return client._get_and_set_session(handle, password)
            except Exception as error:
                # `from None`: the request in the cause holds the password.
                raise self._login_failure(error, handle, password, limit) from None

        made = with_retries(once)
        # The official PDS lets an account log in that is deactivated, and refuses its writes.
        if made.active is False:
            raise of_state(made.status or "", handle, self._base_url)
        return client

    def _refresh(self) -> None:
        client = self._client_of_session()

        def once() -> None:
            try:
                # After a lost answer with the same refresh token: a PDS takes it for a while longer.
                client._refresh_and_set_session()
            except Exception as error:
                failure = self._translated(error, "com.atproto.server.refreshSession")
                if isinstance(failure, ServiceRefusedError):
                    raise of_account(failure, cast(str, self.handle)) or self.ended() from None
                raise failure from None

        with_retries(once)
        self._use(client)

    def _login_failure(self, error: Exception, handle: str, password: str, limit: LoginLimit) -> Exception:
        failure = self._translated(error, "com.atproto.server.createSession")
        if not isinstance(failure, AtdataError):
            return failure
        if isinstance(failure, RateLimitedError) and failure is not error:
            seconds = failure.facts.get("retry_after")
            if seconds and seconds > LONGEST_WAIT:
                limit.keep(seconds)
            return too_many_logins(self._base_url, handle, seconds)
        # A service that repeats what it was sent must not make us show it.
        failure = type(failure)(failure.message.replace(password, "***"), **failure.facts)
        return of_login(failure, handle) if isinstance(failure, ServiceRefusedError) else failure

    def _translated(self, error: Exception, nsid: str) -> Exception:
        """An exception of ``atproto`` as one of ours; one that is none of its own comes back as it is."""
        import httpx
        from atproto import exceptions  # pyright: ignore[reportMissingTypeStubs]

        url = f"{self._base_url}/xrpc/{nsid}"
        if isinstance(error, httpx.HTTPError | httpx.InvalidURL):
            return of_transport(url, error)
        # A body of type JSON that is none: `atproto` lets the error of its parser pass.
        if not isinstance(error, exceptions.AtProtocolError) and type(error) is not ValueError:
            return error
        response: Any = getattr(error, "response", None)
        if response is None and isinstance(error.__cause__, httpx.HTTPError):
            return of_transport(url, error.__cause__)
        if response is None:
            return refused(
                f"{self._base_url} answered {nsid} with something else than a PDS does. "
                "Is this the right address? Check ATDATA_PDS_URL or base_url.",
                self._base_url,
            )
        body: Any = response.content
        if not isinstance(body, bytes):
            body = json.dumps({name: str(getattr(body, name, "") or "") for name in ("error", "message")}).encode()
        return of_reply(url, response.status_code, response.headers, body)


def _tokens_of(client: Any) -> Tokens:
    session = client._session
    return Tokens(session.handle, session.did, session.access_jwt, session.refresh_jwt, session.pds_endpoint)


def _tokens_in(exported: str) -> Tokens:
    """The session in a string as ``atproto`` exports it; raises ``ValueError`` where it is none."""
    parts = exported.split(_SEPARATOR)
    if not exported.isascii() or len(parts) not in (4, 5):
        raise ValueError("no session string")
    # As older ones were exported, when there was one PDS.
    return Tokens(*parts) if len(parts) == 5 else Tokens(*parts, pds="https://bsky.social")
