"""Whether the network has seen a record: a receipt from an AppView, or from a relay.

An AppView answers ``science.alt.dataset.getEntry``. A relay keeps no records; it tells which revision of a
repository it has heard of last.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any, cast

from atdata_core.atmosphere.client import AtmosphereClient
from atdata_core.atmosphere.record_format.record_keys import AtUri
from atdata_core.errors import AtdataError
from atdata_core.stores.http import environment_transport

APPVIEW, RELAY = "ATDATA_APPVIEW_URL", "ATDATA_RELAY_URL"
"""Of the environment: who is asked."""

WAIT = 5.0
"""Seconds in which an indexer on the network has usually seen a record."""
_PAUSE = 0.5
_TIMEOUT = 3.0
_MOST = 1 << 20


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

    Args:
        uri: At-uri of the record, with a DID.
        client: Logged in or not; it tells the revision that a relay must have.
        cid: That the AppView must have; None: any.
        wait: Seconds in which they are asked again.
    """
    appview, relay = (os.environ.get(name, "").strip().rstrip("/") for name in (APPVIEW, RELAY))
    if not appview and not relay:
        return NOT_ASKED
    service = appview or relay
    try:
        least = None if appview else client.latest_revision(AtUri.parse(uri).authority)
    except AtdataError as error:
        return Receipt(False, f"{service} could not be asked: {error.message}")
    until = time.monotonic() + wait
    while True:
        seen, why = _by_appview(appview, uri, cid) if appview else _by_relay(relay, uri, least or "")
        if seen:
            return Receipt(True, f"{service} has seen it.")
        if time.monotonic() >= until:
            return Receipt(False, f"{service} has not seen it within {wait:g} s: {why}. Look again later: verify.")
        time.sleep(_PAUSE)


def _by_appview(service: str, uri: str, cid: str | None) -> tuple[bool, str]:
    answer, why = _ask(service, "science.alt.dataset.getEntry", {"uri": uri})
    if answer is None:
        return False, why
    inner: Any = answer.get("entry", answer)
    found = cast("dict[str, Any]", inner) if isinstance(inner, dict) else {}
    has = found.get("cid", answer.get("cid"))
    return (True, "") if cid is None or has in (None, cid) else (False, "it has another version of the record")


def _by_relay(service: str, uri: str, least: str) -> tuple[bool, str]:
    answer, why = _ask(service, "com.atproto.sync.getLatestCommit", {"did": AtUri.parse(uri).authority})
    # Revisions are TIDs, which sort by time.
    heard = answer is not None and str(answer.get("rev", "")) >= least
    return heard, why or "it has an earlier state of the account"


def _ask(service: str, query: str, params: dict[str, str]) -> tuple[dict[str, Any] | None, str]:
    """One request and no more: who waits for a receipt waits for a moment."""
    import httpx

    limits = httpx.Limits(max_connections=1)
    try:
        with httpx.Client(transport=environment_transport(limits), timeout=_TIMEOUT) as http:
            answer = http.get(f"{service}/xrpc/{query}", params=params)
        value: Any = answer.json() if answer.is_success and len(answer.content) <= _MOST else None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return None, f"it does not answer ({type(error).__name__})"
    if not isinstance(value, dict):
        return None, f"it says {answer.status_code}"
    return cast("dict[str, Any]", value), ""
