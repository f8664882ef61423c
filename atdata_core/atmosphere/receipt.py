"""Whether the network has seen a record: a receipt from an AppView, or from a relay.

An AppView answers ``science.alt.dataset.getEntry``. Some relays prove single records by
``com.atproto.sync.getRecord``; the others tell only which revision of a repository they have heard of last.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from atdata_core.atmosphere import proof
from atdata_core.atmosphere.client import AtmosphereClient, Record
from atdata_core.atmosphere.record_format.lexicon import is_tid
from atdata_core.atmosphere.record_format.record_keys import AtUri
from atdata_core.errors import AtdataError, ProofError
from atdata_core.stores.http import environment_transport

if TYPE_CHECKING:
    import httpx

APPVIEW, RELAY = "ATDATA_APPVIEW_URL", "ATDATA_RELAY_URL"
"""Of the environment: who is asked."""

WAIT = 5.0
"""Seconds in which an indexer on the network has usually seen a record."""
_PAUSE = 0.5
_TIMEOUT = 3.0
_MOST = 1 << 20
_SEEN = "has seen it"


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
        wait: Seconds in which they are asked again.
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
        seen, said = _by_appview(appview, record) if appview else _by_relay(relay, record, least, key)
        if seen:
            return Receipt(True, f"{service} {said}.")
        if time.monotonic() >= until:
            waited = f" within {wait:g} s" if wait else " yet"
            return Receipt(False, f"{service} has not seen it{waited}: {said}. Look again later: verify.")
        time.sleep(_PAUSE)


def _by_appview(service: str, record: Record) -> tuple[bool, str]:
    answer, why = _ask(service, "science.alt.dataset.getEntry", {"uri": record.uri})
    if why:
        return False, why
    told = _value(answer)
    inner: Any = told.get("entry")
    told |= cast("dict[str, Any]", inner) if isinstance(inner, dict) else {}
    if told.get("cid") is not None:
        return (True, _SEEN) if told["cid"] == record.cid else (False, "it has another version of the record")
    return (True, _SEEN) if told.get("uri") == record.uri else (False, "its answer does not name the record")


def _by_relay(service: str, record: Record, least: str, key: str | None) -> tuple[bool, str]:
    """By a proof that it has the record, else by the revision, which says nothing of single records."""
    at = AtUri.parse(record.uri)
    if key is not None:
        params = {"did": at.authority, "collection": at.collection, "rkey": at.rkey}
        answer, _ = _ask(service, "com.atproto.sync.getRecord", params)
        if answer is not None and answer.is_success:
            try:
                path = f"{at.collection}/{at.rkey}"
                proof.check(answer.content, did=at.authority, key=key, path=path, cid=record.cid)
            except ProofError:
                return False, "what it proves is not this version of the record"
            return True, _SEEN
        if _value(answer).get("error") in ("RecordNotFound", "RepoNotFound"):
            return False, "it does not have the record"
    answer, why = _ask(service, "com.atproto.sync.getLatestCommit", {"did": at.authority})
    if why:
        return False, why
    revision = _value(answer).get("rev")
    # Revisions are TIDs, which sort by time.
    if isinstance(revision, str) and is_tid(revision) and revision >= least:
        return True, "tells nothing of single records; it has heard of the account up to the revision that has this"
    return False, "it has an earlier state of the account"


def _ask(service: str, query: str, params: dict[str, str]) -> tuple[httpx.Response | None, str]:
    """One request and no more: who waits for a receipt waits for a moment. The answer, and what is wrong."""
    import httpx

    limits = httpx.Limits(max_connections=1)
    try:
        with httpx.Client(transport=environment_transport(limits), timeout=_TIMEOUT) as http:
            answer = http.get(f"{service}/xrpc/{query}", params=params)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return None, f"it does not answer ({type(error).__name__})"
    return answer, "" if answer.is_success else f"it says {answer.status_code}"


def _value(answer: httpx.Response | None) -> dict[str, Any]:
    """What an answer says; nothing where it is no JSON object."""
    try:
        value: Any = answer.json() if answer is not None and len(answer.content) <= _MOST else None
    except (ValueError, RecursionError):
        value = None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}
