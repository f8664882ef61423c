"""The PDS, the account on it, and whether the network finds that account there."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

import httpx

from atdata_core.atmosphere.xrpc.answers import read_body
from atdata_core.common.retry_after import its_time
from atdata_core.stores.http_transport import environment_transport
from atdata_core.stores.s3.clients import same_service

from ...config.resources import AtprotoResource
from .check import CheckResult, Known, fail, ok, skip

_ADDRESS = "ATDATA_PDS_URL is the address of a PDS, such as https://bsky.social."


def look_at_service(known: Known) -> Iterable[CheckResult]:
    """Whether it answers, and is a PDS."""
    service = AtprotoResource().anonymous().base_url
    url, sent = f"{service}/xrpc/com.atproto.server.describeServer", time.time()
    try:
        with (
            httpx.Client(transport=environment_transport(), timeout=known.answer) as client,
            client.stream("GET", url) as answer,
        ):
            body = read_body(answer, url, silence=known.answer)
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        yield fail(f"{service} does not answer ({type(error).__name__})", f"{_ADDRESS} Does it run?")
        return
    known.heard(service, sent, its_time(answer.headers))
    if answer.status_code >= 500:
        yield fail(f"{service} fails: HTTP {answer.status_code}", "Try again later, or ask who runs it.")
    elif answer.status_code != 200 or not _describes_a_pds(body):
        yield fail(f"{service} is no PDS: HTTP {answer.status_code}", _ADDRESS)
    else:
        yield ok(f"{service} is a PDS")


def look_at_login(known: Known) -> Iterable[CheckResult]:
    """Whether the account can log in; the session is the one that all processes of this machine share."""
    client = AtprotoResource().client()
    client.check_session()
    known.account = client
    yield ok(f"{client.handle} ({client.did}) is logged in")


def look_at_identity(known: Known) -> Iterable[CheckResult]:
    """Whether those who look for the account find this PDS."""
    account = AtprotoResource()
    did, anonymous = account.did(), account.anonymous()
    home = anonymous.service_of(did)
    # A login may lead on to the PDS that holds the account (bsky.social does).
    here = known.account.service_of(did) if known.account is not None else anonymous.base_url
    if known.account is not None and known.account.did != did:
        yield fail(
            f"the handle leads to {did}, but the login to {known.account.did}",
            "Check ATDATA_HANDLE, and the handle's DNS entry or /.well-known/atproto-did.",
        )
    elif same_service(home, here):
        yield ok(f"{did} is found at {home}")
    elif known.account is None:
        yield skip(f"{did} is found at {home}; whether a login leads there is not known: see login")
    else:
        yield fail(
            f"{did} is found at {home}, but the login leads to {here}: nobody would find what is published there",
            "Set ATDATA_PDS_URL to the account's own PDS, or ATDATA_PLC_URL to the directory that is in use.",
        )


def _describes_a_pds(body: bytes) -> bool:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and isinstance(said.get("did"), str) and "availableUserDomains" in said
