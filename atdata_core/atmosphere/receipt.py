"""Whether the network has seen a record: a receipt from an AppView, or from a relay.

An AppView answers ``science.alt.dataset.getEntry``. Some relays prove single records by
``com.atproto.sync.getRecord``; the others tell only which revision of a repository they have heard of last.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any, cast

from atdata_core.atmosphere import proof
from atdata_core.atmosphere.client import AtmosphereClient, Record
from atdata_core.atmosphere.record_format.lexicon import is_tid
from atdata_core.atmosphere.record_format.record_keys import AtUri
from atdata_core.atmosphere.xrpc.answers import of_reply, read_body
from atdata_core.atmosphere.xrpc.session import as_object
from atdata_core.errors import AtdataError, ProofError, ServiceRefusedError
from atdata_core.stores.http_transport import environment_transport

APPVIEW, RELAY = "ATDATA_APPVIEW_URL", "ATDATA_RELAY_URL"
"""Of the environment: who is asked."""

WAIT = 5.0
"""Seconds in which an indexer on the network has usually seen a record."""
_PAUSE = 0.5
_TIMEOUT = 3.0
"""Seconds that one look takes at most, however a service answers."""
_MOST = 1 << 20
_SEEN = "has seen it"
_MALFORMED = "its answer is malformed"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the network says of a record.

    Attributes:
        seen: Whether it is there; None where nobody is configured to be asked.
        said: The same for people.
    """

    seen: bool | None
    said: str


NOT_ASKED = Receipt(None, f"Nobody was asked: neither {APPVIEW} nor {RELAY} is set.")


def receipt_of(uri: str, client: AtmosphereClient, *, cid: str | None = None, wait: float = WAIT) -> Receipt:
    """Ask the AppView that is configured, else the relay, whether it has a record; raises nothing.

    The record is read from its PDS first: nobody has seen what is not there.

    Args:
        uri: At-uri of the record.
        client: Logged in or not; it reads the record, and tells the revision that a relay must have.
        cid: That the record must have; None: the one that it has now.
        wait: Seconds in which they are asked again; the last answer may take some more (``_TIMEOUT``).
    """
    appview, relay = (os.environ.get(name, "").strip().rstrip("/") for name in (APPVIEW, RELAY))
    if not appview and not relay:
        return NOT_ASKED
    service = appview or relay
    try:
        record = client.read_at_home(uri)
        if cid not in (None, record.cid):
            return Receipt(False, f"{service} was not asked: the PDS has another version of {uri}.")
        did = AtUri.parse(record.uri).authority
        # In this order: the revision is one that has the record.
        least, key = ("", None) if appview else (client.latest_revision(did), client.signing_key_of(did))
    except AtdataError as error:
        return Receipt(False, f"{service} was not asked: {error.message}")
    until = time.monotonic() + wait
    while True:
        try:
            said = _by_appview(appview, record) if appview else _by_relay(relay, record, least, key)
            return Receipt(True, f"{service} {said}.")
        except _NoReceiptError as why:
            if time.monotonic() >= until:
                waited = f" within {wait:g} s" if wait else " yet"
                return Receipt(False, f"{service} has not confirmed it{waited}: {why}. Look again later: verify.")
        time.sleep(_PAUSE)


class _NoReceiptError(Exception):
    """What is known instead of that a service has a record; ``error`` is the service's name for it."""

    def __init__(self, why: str, error: str | None = None) -> None:
        super().__init__(why)
        self.error = error


def _by_appview(service: str, record: Record) -> str:
    told = _object(_ask(service, "science.alt.dataset.getEntry", {"uri": record.uri}, time.monotonic() + _TIMEOUT))
    inner: Any = told.get("entry")
    told |= cast("dict[str, Any]", inner) if isinstance(inner, dict) else {}
    if told.get("uri") != record.uri:
        raise _NoReceiptError("its answer does not name the record")
    if told.get("cid") is None:
        raise _NoReceiptError("it answers about the record, but not which version it has")
    if told["cid"] != record.cid:
        raise _NoReceiptError("it has another version of the record")
    return _SEEN


def _by_relay(service: str, record: Record, least: str, key: str | None) -> str:
    """By a proof that it has the record, else by the revision, which says nothing of single records."""
    at, until = AtUri.parse(record.uri), time.monotonic() + _TIMEOUT
    if key is not None:
        params = {"did": at.authority, "collection": at.collection, "rkey": at.rkey}
        try:
            given = _ask(service, "com.atproto.sync.getRecord", params, until)
            path = f"{at.collection}/{at.rkey}"
            proof.check(given, did=at.authority, key=key, path=path, cid=record.cid)
            return _SEEN
        except ProofError:
            raise _NoReceiptError("what it proves is not this version of the record") from None
        except _NoReceiptError as refusal:
            if refusal.error in ("RecordNotFound", "RepoNotFound"):
                raise _NoReceiptError("it does not have the record") from None
    revision = _object(_ask(service, "com.atproto.sync.getLatestCommit", {"did": at.authority}, until)).get("rev")
    if not isinstance(revision, str) or not is_tid(revision):
        raise _NoReceiptError(_MALFORMED)
    # Revisions are TIDs, which sort by time.
    if revision < least:
        raise _NoReceiptError("it has an earlier state of the account")
    return "tells nothing of single records; it has heard of the account up to the revision that has this"


def _ask(service: str, query: str, params: dict[str, str], until: float) -> bytes:
    """One request and no more: who waits for a receipt waits for a moment."""
    import httpx

    url = f"{service}/xrpc/{query}"
    try:
        with (
            httpx.Client(transport=environment_transport(until=until), timeout=_TIMEOUT) as http,
            http.stream("GET", url, params=params) as answer,
        ):
            body = read_body(answer, url, silence=_TIMEOUT, most=_MOST)
    except ServiceRefusedError:
        raise _NoReceiptError(f"its answer has more than {_MOST:,} bytes") from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise _NoReceiptError(f"it does not answer ({type(error).__name__})") from None
    if answer.is_success:
        return body
    error = of_reply(url, answer.status_code, answer.headers, body).facts.get("error")
    raise _NoReceiptError(f"it says {answer.status_code}", error)


def _object(body: bytes) -> dict[str, Any]:
    try:
        return as_object(body, "")
    except ServiceRefusedError:
        raise _NoReceiptError(_MALFORMED) from None
