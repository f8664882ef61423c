"""Records in repositories: read anybody's, write one's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from atdata_core.atmosphere import blobs, listings, proof
from atdata_core.atmosphere.identity import Resolver
from atdata_core.atmosphere.listings import PAGE, Record
from atdata_core.atmosphere.record_format.lexicon import put_request
from atdata_core.atmosphere.record_format.parse import changed, differing_fields
from atdata_core.atmosphere.record_format.record_keys import AtUri, new_tid
from atdata_core.atmosphere.xrpc.answers import NOT_IMPLEMENTED, refused
from atdata_core.atmosphere.xrpc.identifiers import plain_identifier
from atdata_core.atmosphere.xrpc.session import Session
from atdata_core.atmosphere.xrpc.write_budget import budget_of
from atdata_core.common.retry_after import ATTEMPTS
from atdata_core.errors import (
    NotLoggedInError,
    ProofError,
    RecordNotFoundError,
    RefusedError,
    ServiceError,
    ServiceRefusedError,
)
from atdata_core.state.ledger import timestamp

if TYPE_CHECKING:
    from datetime import datetime

    import httpx

    from atdata_core.atmosphere.xrpc.account import Account

DEFAULT_PDS_URL = "https://bsky.social"


def apply_request(did: str, writes: Sequence[dict[str, Any]], *, swap: str) -> dict[str, Any]:
    """The body of an applyWrites; ``swap`` is the CID of the commit that it follows."""
    return {"repo": did, "writes": writes, "swapCommit": swap}


_NOBODY = (
    "Nobody is logged in. Call login(handle, app_password) on the client first "
    "(ATDATA_HANDLE and ATDATA_APP_PASSWORD in the pipeline)."
)


class AtmosphereClient:
    """An account on a PDS, or nobody in particular: reading needs no login.

    Args:
        base_url: URL of the PDS; ``ATDATA_PDS_URL`` by default, else ``https://bsky.social``.
        transport: Replaces the network, in tests.
        clock: Gives the time that new records carry; the machine's by default.
        timeout: Seconds to wait for a connection or an answer; 5 and 30 by default.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        clock: Callable[[], datetime] | None = None,
        timeout: float | None = None,
    ) -> None:
        url = base_url or os.environ.get("ATDATA_PDS_URL") or DEFAULT_PDS_URL
        self._session = Session(url, transport=transport, timeout=timeout)
        self._clock = clock
        self._resolver = Resolver(self._session)

    def __repr__(self) -> str:
        who = f"as {self._account.handle}" if self.is_authenticated else "anonymous"
        return f"AtmosphereClient({self.base_url!r}, {who})"

    # -- the account ------------------------------------------------------------------------------

    @property
    def base_url(self) -> str:
        """URL of the PDS that is asked first."""
        return self._session.base_url

    @property
    def is_authenticated(self) -> bool:
        """Whether an account is logged in."""
        return self._account.did is not None

    @property
    def did(self) -> str:
        """DID of the account; raises ``NotLoggedInError`` where there is none."""
        if self._account.did is None:
            raise NotLoggedInError(_NOBODY)
        return self._account.did

    @property
    def handle(self) -> str:
        """Handle of the account; raises ``NotLoggedInError`` where there is none."""
        if self._account.handle is None:
            raise NotLoggedInError(_NOBODY)
        return self._account.handle

    @property
    def counts_writes(self) -> bool:
        """Whether the account's writes cost points, as far as is known; ``NotLoggedInError``."""
        return budget_of(self.did, self._account.service).is_counted

    def login(self, handle: str, password: str, *, shared: bool = False) -> None:
        """Log in with an app password.

        A PDS takes some 30 logins in five minutes and 300 a day. With ``shared`` the processes of one user
        on this machine use one session: whoever comes first logs in and keeps the session in a file that
        only that user can read (in ``ATDATA_STATE_DIR``, else ``~/.local/state/atdata-pipelines``), the
        others take it up without a request. Where it has ended, it is logged in anew with ``password``.

        ``@``, blanks, quotes, commas, invisible marks, ``at://``, ``mailto:``, ``acct:``, a profile's address and a
        last dot are taken off the handle, blanks and newlines off the password; a warning says so.

        Raises:
            LoginError: Wrong handle or password, an account that is not active, or one that wants a code.
            RateLimitedError: The PDS takes no more logins of this account for now.
        """
        self._account.login(handle, password, shared=shared)

    def login_with_session(self, session: str) -> None:
        """Take up a session that ``export_session`` gave; costs one request.

        Raises:
            LoginError: It is none, or it has ended.
        """
        self._session.resume(session)

    def check_session(self) -> None:
        """Ask the PDS whether the session stands; one request, and a renewal where it has expired.

        Raises:
            LoginError: It has ended, and cannot be begun anew.
            NotLoggedInError: There is none.
        """
        self._session.call("GET", "com.atproto.server.getSession", auth=True)

    def export_session(self) -> str:
        """The session as a string. It is a secret. Raises ``NotLoggedInError`` without a login."""
        return self._account.export()

    def now(self) -> str:
        """The time, as a new record carries it."""
        return timestamp(self._clock() if self._clock else None)

    # -- reading ----------------------------------------------------------------------------------

    def get_record(self, uri: str | AtUri) -> Record:
        """Read a record; no login needed.

        ``base_url`` is asked first, then the PDS that the repository's DID names.

        Raises:
            RecordNotFoundError: There is none.
            RefusedError: (a ``ValueError``) malformed at-uri.
        """
        at = AtUri.parse(uri) if isinstance(uri, str) else uri
        params = {"collection": at.collection, "rkey": at.rkey}
        reply = self._ask(plain_identifier(at.authority), "com.atproto.repo.getRecord", params)
        if reply is None:
            raise RecordNotFoundError(
                f"There is no record {at}. It may have been deleted, or the at-uri is misspelt.", uri=str(at)
            )
        return _record(reply, str(at))

    def read_at_home(self, uri: str | AtUri) -> Record:
        """Read a record from the PDS that the repository's DID names, and from no other.

        Raises:
            RecordNotFoundError: There is no such record or account.
            PrivateAddressError: The DID names a private address that is not configured.
            RefusedError: (a ``ValueError``) malformed at-uri.
        """
        at = AtUri.parse(uri) if isinstance(uri, str) else uri
        did = self._resolver.did_of(at.authority)
        at = AtUri(did, at.collection, at.rkey)
        home = self._resolver.service_of(did)
        params = {"repo": did, "collection": at.collection, "rkey": at.rkey}
        try:
            reply = self._session.call("GET", "com.atproto.repo.getRecord", params=params, service=home)
        except ServiceRefusedError as error:
            if not _is_absence(error):
                raise
            raise RecordNotFoundError(f"There is no record {at} on {home}, its PDS.", uri=str(at)) from None
        # Whatever address the answer names: this one was asked for.
        return _record(reply, str(at))._replace(uri=str(at))

    def prove(self, at: AtUri, cid: str) -> str | None:
        """Make sure that a record is in the repository that its account signed.

        Its PDS gives the proof, the DID document the key; what the PDS says of either is not taken on trust.

        Args:
            at: Of the record; its authority is a DID.
            cid: Of the record, which its content has.

        Returns:
            None once it is proven. Else why there is no proof: the PDS does not give any, or there is no key.

        Raises:
            ProofError: The proof is wrong: the message says what.
            ServiceError: The PDS or the directory cannot be asked.
        """
        home = self._resolver.service_of(at.authority)
        key = self._resolver.signing_key_of(at.authority)
        if key is None:
            return f"the DID document of {at.authority} names no key for its repository (#atproto)"
        params = {"did": at.authority, "collection": at.collection, "rkey": at.rkey}
        url = f"{home}/xrpc/com.atproto.sync.getRecord"
        try:
            car = self._session.send("GET", url, params=params, guarded=True, most=proof.MAX_BYTES)
        except ServiceError as error:
            status, name = error.status, error.facts.get("error")
            if name in ("RecordNotFound", "RepoNotFound") or status == 200:
                raise ProofError(f"{home} gives no proof of a record that it shows. {error.message}") from None
            if name == NOT_IMPLEMENTED or status in (404, 501):
                return f"{home} gives no proofs (com.atproto.sync.getRecord: {status} {name or 'without a name'})"
            raise
        proof.check(car, did=at.authority, key=key, path=f"{at.collection}/{at.rkey}", cid=cid)
        return None

    def find_record(self, collection: str, rkey: str) -> Record | None:
        """A record of the own repository, with one request; None where there is none."""
        params = {"repo": self.did, "collection": collection, "rkey": rkey}
        try:
            reply = self._session.call("GET", "com.atproto.repo.getRecord", params=params)
        except ServiceRefusedError as error:
            if error.error == "RecordNotFound":
                return None
            raise
        return _record(reply, f"at://{self.did}/{collection}/{rkey}")

    def list_records(
        self,
        collection: str,
        *,
        repo: str | None = None,
        cursor: str | None = None,
        limit: int = PAGE,
        reverse: bool = False,
    ) -> tuple[list[Record], str | None]:
        """A page of a collection, newest key first (``reverse``: oldest first).

        Args:
            collection: Its name.
            repo: DID or handle; the own repository by default.
            cursor: Where to go on, from the page before.
            limit: Records a page, 100 at most.
            reverse: The other order.

        Returns:
            The records and the cursor of the next page, None at the end. The last page may have a cursor too.

        Raises:
            RecordNotFoundError: There is no such repository.
        """
        params = {
            "collection": collection,
            "cursor": cursor,
            "limit": limit,
            "reverse": "true" if reverse else None,
        }
        repo = plain_identifier(repo) if repo else self.did
        reply = self._ask(repo, "com.atproto.repo.listRecords", params)
        if reply is None:
            raise RecordNotFoundError(
                f"There is no repository {repo}. Check the DID or handle.", uri=f"at://{repo}"
            )
        items: Any = reply.get("records")
        following: Any = reply.get("cursor")
        if not isinstance(items, list):
            raise self._no_pds()
        if not isinstance(following, str | None):
            raise self._no_pds()
        records = [_record(item, f"at://{repo}/{collection}") for item in cast("list[Any]", items)]
        return records, following or None

    def iter_records(self, collection: str, *, repo: str | None = None, reverse: bool = False) -> Iterator[Record]:
        """All records of a collection, a page at a time; raises as ``iter_pages``."""
        for records, _ in self.iter_pages(collection, repo=repo, reverse=reverse):
            yield from records

    def iter_pages(
        self, collection: str, *, repo: str | None = None, cursor: str | None = None, reverse: bool = False
    ) -> Iterator[tuple[list[Record], str | None]]:
        """The pages of a collection, as ``list_records`` gives them, as long as each brings something new.

        A page may be empty and others follow: only its cursor tells.

        Raises:
            ServiceRefusedError: The listing does not come to an end.
            RecordNotFoundError: There is no such repository.
        """
        yield from listings.pages(
            lambda at: self.list_records(collection, repo=repo, cursor=at, reverse=reverse),
            cursor,
            endless=lambda what: self._endless(collection, repo, what),
        )

    def latest_commit(self, did: str) -> str:
        """CID of the newest commit of a repository: it changes with every write.

        Raises:
            RecordNotFoundError: There is no such repository.
        """
        return self._latest(did, "cid")

    def latest_revision(self, did: str) -> str:
        """Revision of the newest commit of a repository, a TID; raises as ``latest_commit``."""
        return self._latest(did, "rev")

    def _latest(self, did: str, part: str) -> str:
        reply = self._ask(did, "com.atproto.sync.getLatestCommit", {}, name="did")
        if reply is None:
            raise RecordNotFoundError(f"There is no repository {did}.", uri=f"at://{did}")
        if not isinstance(reply.get(part), str):
            raise self._no_pds()
        return reply[part]

    def did_of(self, repo: str) -> str:
        """The DID of a handle; a DID is given back as it is. Raises ``RecordNotFoundError``."""
        return self._resolver.did_of(repo)

    def handle_of(self, did: str) -> str | None:
        """The handle of an account, which leads back to its DID; None where it has none."""
        return self._resolver.handle_of(did)

    def signing_key_of(self, did: str) -> str | None:
        """The key that signs a repository, as a ``did:key``, from its DID document; None where that names none."""
        return self._resolver.signing_key_of(did)

    def service_of(self, repo: str) -> str:
        """URL of the PDS that holds a repository (DID or handle)."""
        did = self._resolver.did_of(repo)
        if did == self._account.did:
            return self._account.service
        return self._resolver.service_of(did)

    def get_blob(self, repo: str, cid: str) -> bytes:
        """The bytes of a blob, checked against its CID.

        Raises:
            RecordNotFoundError: The PDS does not have it (any more).
            ShardChangedError: It sends other bytes than the CID says.
        """
        did = self._resolver.did_of(repo)
        return blobs.fetch(self._session, self.service_of(did), did, cid)

    # -- writing ----------------------------------------------------------------------------------

    def create_once(
        self, collection: str, rkey: str, record: dict[str, Any], *, validate: bool | None = None
    ) -> tuple[Record, bool]:
        """Write a record where none is; adopt one that differs in ``createdAt`` at most.

        Safe to repeat after a lost answer: the key is the caller's, and the repeat adopts what is there.
        ``validate`` as in ``put_record``.

        Returns:
            The record as it now stands, and whether a commit was made.

        Raises:
            RecordChangedError: Another record is there; ``fields`` names what differs.
            NotLoggedInError: Nobody is logged in.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._put(collection, rkey, record, swap=None, validate=validate)
            except ServiceRefusedError as error:
                if error.error != "InvalidSwap" or attempt == ATTEMPTS:
                    raise
            existing = self.find_record(collection, rkey)
            if existing is None:
                continue  # deleted between the two requests
            fields = differing_fields(existing.value, record)
            if fields:
                raise changed(self.did, collection, rkey, fields)
            return existing, False
        raise AssertionError("unreachable")

    def replace(self, collection: str, rkey: str, record: dict[str, Any], *, swap: str) -> Record:
        """Write a record in the place of the one whose CID is ``swap``.

        A write that was done, but whose answer was lost, is known by reading it back.

        Raises:
            RecordChangedError: Something else is there by now; ``fields`` names what differs from ``record``.
            NotLoggedInError: Nobody is logged in.
        """
        try:
            return self._put(collection, rkey, record, swap=swap)[0]
        except ServiceRefusedError as error:
            if error.error != "InvalidSwap":
                raise
        existing = self.find_record(collection, rkey)
        fields = differing_fields(existing.value if existing else {}, record)
        if existing and not fields and existing.value.get("createdAt") == record.get("createdAt"):
            return existing
        raise changed(self.did, collection, rkey, fields)

    def delete(self, collection: str, rkey: str, *, swap: str | None = None) -> None:
        """Delete a record of the own repository; one that is not there is no error.

        Args:
            collection: Its collection.
            rkey: Its key.
            swap: The CID last seen; None deletes whatever is there.

        Raises:
            RecordChangedError: Something else than ``swap`` is there; it stays.
            NotLoggedInError: Nobody is logged in.
        """
        body = {"repo": self.did, "collection": collection, "rkey": rkey}
        if swap is not None:
            body["swapRecord"] = swap
        try:
            self._session.call("POST", "com.atproto.repo.deleteRecord", body=body, auth=True)
        except ServiceRefusedError as error:
            if error.error != "InvalidSwap":
                raise
            raise changed(self.did, collection, rkey, []) from None

    def apply(self, writes: Sequence[dict[str, Any]], *, swap: str) -> tuple[list[str], str]:
        """Make several writes in one commit, or none of them. ``record_batches.py`` knows what a PDS takes at once.

        Args:
            writes: As applyWrites takes them: each creates a record or replaces one.
            swap: CID of the commit that they follow.

        Returns:
            The CID of each record, and that of the new commit.

        Raises:
            ServiceRefusedError: Another commit came between (``InvalidSwap``), or the PDS does not take one of
                the writes. A commit that was made, but whose answer was lost, also looks like the first.
            NotLoggedInError: Nobody is logged in.
        """
        body = apply_request(self.did, writes, swap=swap)
        reply = self._session.call("POST", "com.atproto.repo.applyWrites", body=body, auth=True)
        try:
            cids = [str(result["cid"]) for result in reply["results"]]
            commit = str(reply["commit"]["cid"])
        except (KeyError, TypeError):
            raise self._no_pds() from None
        if len(cids) != len(writes):
            raise self._no_pds()
        return cids, commit

    def create_record(
        self, collection: str, record: dict[str, Any], *, rkey: str | None = None, validate: bool | None = None
    ) -> AtUri:
        """Write a record under a key of its own, or under ``rkey``, where the same record may be already.

        ``validate`` as in ``put_record``.

        Raises:
            RecordChangedError, NotLoggedInError: As ``create_once``.
        """
        return AtUri.parse(self.create_once(collection, rkey or new_tid(), record, validate=validate)[0].uri)

    def put_record(
        self,
        collection: str,
        rkey: str,
        record: dict[str, Any],
        *,
        validate: bool | None = None,
        swap_commit: str | None = None,
    ) -> AtUri:
        """Write a record, whatever is there; with ``swap_commit`` only where that is the newest commit's CID.

        ``validate`` is for the PDS: True, it refuses what it has no lexicon for; False, it looks at no lexicon;
        None, it checks what it has one for.
        """
        where = {"repo": self.did, "collection": collection, "rkey": rkey}
        self._write("putRecord", {**where, "record": record, "validate": validate, "swapCommit": swap_commit})
        return AtUri(self.did, collection, rkey)

    def delete_record(self, uri: str | AtUri, *, swap_commit: str | None = None) -> None:
        """Delete a record of the own repository, whatever is there; ``swap_commit`` as in ``put_record``.

        Raises:
            RefusedError: It is in the repository of somebody else.
        """
        at = AtUri.parse(uri) if isinstance(uri, str) else uri
        if at.authority not in (self.did, self.handle):
            raise RefusedError(f"{at} is not in the repository of {self.handle}, who is logged in.", uri=str(at))
        where = {"repo": self.did, "collection": at.collection, "rkey": at.rkey}
        self._write("deleteRecord", {**where, "swapCommit": swap_commit})

    def blob_limit(self) -> int:
        """The most bytes of a blob: what the account's PDS says (``describeServer``), else the lexicon."""
        return blobs.limit_of(self._session)

    def upload_blob(
        self,
        data: bytes | BinaryIO,
        mime_type: str = "application/octet-stream",
        *,
        mime: str | None = None,
        size: int | None = None,
    ) -> dict[str, Any]:
        """Upload a blob; its reference ``{"$type": "blob", "ref", "mimeType", "size"}``, for a record to keep it.

        ``mime`` is ``mime_type`` by another name. A file can be given in place of bytes, with its ``size``: it is
        sent from its beginning, a piece at a time.

        Raises:
            StorageError: It is larger than 52,428,800 bytes, or than the PDS takes.
        """
        return blobs.upload(self._session, data, mime or mime_type, size=size)

    # -- underneath -------------------------------------------------------------------------------

    def _write(self, procedure: str, body: dict[str, Any]) -> None:
        body = {name: value for name, value in body.items() if value is not None}
        self._session.call("POST", f"com.atproto.repo.{procedure}", body=body, auth=True)

    def _put(
        self, collection: str, rkey: str, record: dict[str, Any], *, swap: str | None, validate: bool | None = None
    ) -> tuple[Record, bool]:
        body = put_request(self.did, collection, rkey, record, swap=swap)
        if validate is not None:
            body["validate"] = validate
        reply = self._session.call("POST", "com.atproto.repo.putRecord", body=body, auth=True)
        uri, cid = reply.get("uri"), reply.get("cid")
        if not isinstance(uri, str) or not isinstance(cid, str):
            raise self._no_pds()
        # The same content again makes no commit.
        return Record(uri, cid, record), "commit" in reply

    @property
    def _account(self) -> Account:
        return self._session.account

    def _endless(self, collection: str, repo: str | None, what: str) -> ServiceRefusedError:
        return refused(
            f"The listing of {collection} in {repo or self.did} {what} and has no end. Tell whoever runs the PDS, "
            "or what stands before it and caches without looking at the cursor.",
            self._account.service,
        )

    def _no_pds(self) -> ServiceRefusedError:
        service = self._account.service
        return refused(f"{service} did not answer as a PDS does. Check ATDATA_PDS_URL or base_url.", service)

    def _ask(self, repo: str, nsid: str, params: dict[str, Any], *, name: str = "repo") -> dict[str, Any] | None:
        """Ask the PDS at hand, then the one that holds the repository; None: neither has it."""
        try:
            return self._session.call("GET", nsid, params={name: repo, **params})
        except ServiceRefusedError as error:
            if not _is_absence(error):
                raise
        if repo in (self._account.did, self._account.handle):
            return None
        did = self._resolver.did_of(repo)
        service = self._resolver.service_of(did)
        if service == self._account.service:
            return None
        try:
            return self._session.call("GET", nsid, params={name: did, **params}, service=service)
        except ServiceRefusedError as error:
            if not _is_absence(error):
                raise
            return None


def _is_absence(error: ServiceRefusedError) -> bool:
    """Whether a PDS says that it does not hold the record or the repository."""
    if error.error in ("RecordNotFound", "RepoNotFound", "HandleNotFound"):
        return True
    # "Could not find repo", "Could not locate record": the official PDS has no name of its own for these.
    return error.error in ("InvalidRequest", "NotFound") and "ould not" in error.message


def _record(reply: Any, asked: str) -> Record:
    if isinstance(reply, dict):
        fields = cast("dict[str, Any]", reply)
        uri, cid, value = (fields.get(key) for key in ("uri", "cid", "value"))
        if isinstance(uri, str) and isinstance(value, dict):
            return Record(uri, str(cid or ""), cast("dict[str, Any]", value))
    raise refused(f"The answer for {asked} holds no record. Is the address that of a PDS?", None)
