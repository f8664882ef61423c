"""From a handle to a DID, from a DID to the PDS that holds its repository.

https://atproto.com/specs/did and https://atproto.com/specs/handle (the DNS way is left to the PDS).
"""

from __future__ import annotations

import os
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from atdata_core.atmosphere.record_format.lexicon import is_did, is_handle
from atdata_core.atmosphere.xrpc.atproto_package import needed_for
from atdata_core.atmosphere.xrpc.identifiers import plain_identifier
from atdata_core.atmosphere.xrpc.session import Session, as_object
from atdata_core.errors import (
    PrivateAddressError,
    RecordNotFoundError,
    RefusedError,
    ServiceError,
    ServiceRefusedError,
)

DEFAULT_PLC_URL = "https://plc.directory"


class Resolver:
    """Resolves identities, and remembers what it found as long as it lives."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._plc_url = (os.environ.get("ATDATA_PLC_URL") or DEFAULT_PLC_URL).rstrip("/")
        self._dids: dict[str, str] = {}
        self._services: dict[str, str] = {}
        self._keys: dict[str, str | None] = {}
        self._handles: dict[str, str | None] = {}

    def did_of(self, repo: str) -> str:
        """The DID of a handle, be it as people paste it; a DID is given back as it is.

        Raises:
            RecordNotFoundError: Nobody knows the handle.
            RefusedError: It is neither a DID nor a handle.
        """
        given, repo = repo, plain_identifier(repo)
        if is_did(repo):
            return repo
        if not is_handle(repo):
            raise RefusedError(
                f"{given!r} is neither a DID (did:plc:...) nor a handle (alice.example.org).", ref=given
            )
        handle = repo
        if handle not in self._dids:
            self._dids[handle] = self._by_service(handle) or self._by_well_known(handle)
        return self._dids[handle]

    def service_of(self, did: str) -> str:
        """URL of the PDS that a DID document names, without a trailing slash.

        It comes from the network: ask it with ``guarded``.

        Raises:
            RecordNotFoundError: There is no such DID, or it has no PDS.
            RefusedError: A DID of an unknown kind, or a document that is another's.
        """
        if did not in self._services:
            self._services[did] = _pds_endpoint(did, self._document(did))
        return self._services[did]

    def signing_key_of(self, did: str) -> str | None:
        """The key that signs an account's repository, as a ``did:key``.

        It comes from the DID document as the PLC directory or the account's own site gives it, never from a PDS.

        Returns:
            None where the document names none, or one of a kind that the network does not use.

        Raises:
            RecordNotFoundError: There is no such DID.
            RefusedError: A DID of an unknown kind, or a document that is another's.
        """
        if did not in self._keys:
            self._keys[did] = _signing_key(did, self._document(did))
        return self._keys[did]

    def handle_of(self, did: str) -> str | None:
        """The handle that a DID document claims, where that leads back to the DID; None where there is none.

        Raises:
            RecordNotFoundError: There is no such DID.
            RefusedError: A DID of an unknown kind, or a document that is another's.
        """
        if did not in self._handles:
            names = self._document(did).get("alsoKnownAs")
            claimed = cast("list[Any]", names) if isinstance(names, list) else []
            handles = (str(each).removeprefix("at://") for each in claimed if str(each).startswith("at://"))
            self._handles[did] = next((handle for handle in handles if self._leads_to(handle, did)), None)
        return self._handles[did]

    def _leads_to(self, handle: str, did: str) -> bool:
        try:
            return is_handle(handle) and self.did_of(handle) == did
        except RecordNotFoundError:
            return False

    def _by_service(self, handle: str) -> str | None:
        try:
            reply = self._session.call("GET", "com.atproto.identity.resolveHandle", params={"handle": handle})
        except ServiceRefusedError:
            return None
        did = reply.get("did")
        return did if isinstance(did, str) and is_did(did) else None

    def _by_well_known(self, handle: str) -> str:
        url = f"https://{handle}/.well-known/atproto-did"
        try:
            did = self._session.send("GET", url, guarded=True).decode("ascii").strip()
        except (ServiceError, PrivateAddressError, UnicodeDecodeError):
            did = ""
        if not is_did(did):
            raise RecordNotFoundError(
                f"No account has the handle {handle!r}, as far as {self._session.account.service} and the "
                "handle's own site know. Check its spelling, or give the DID.",
                uri=f"at://{handle}",
            )
        return did

    def _document(self, did: str) -> dict[str, Any]:
        url, guarded = self._document_url(did)
        try:
            document = as_object(self._session.send("GET", url, guarded=guarded), url)
        except ServiceRefusedError as error:
            if error.status not in (400, 404, 410):
                raise
            raise RecordNotFoundError(
                f"There is no account {did}: {urlsplit(url).netloc} does not know it. Check the DID "
                "(and ATDATA_PLC_URL where another directory is in use).",
                uri=f"at://{did}",
            ) from None
        if document.get("id") != did:
            raise RefusedError(f"The DID document at {url} is not that of {did}.", ref=did)
        return document

    def _document_url(self, did: str) -> tuple[str, bool]:
        """Where the document lies, and whether that address came from the network."""
        if did.startswith("did:plc:"):
            return f"{self._plc_url}/{did}", False
        if did.startswith("did:web:"):
            host = unquote(did.removeprefix("did:web:"))
            # The specification allows a port, and plain http, for localhost only.
            scheme = "http" if host.partition(":")[0] == "localhost" else "https"
            return f"{scheme}://{host}/.well-known/did.json", True
        raise RefusedError(f"{did} is of a kind that the network does not use (did:plc, did:web).", ref=did)


def _signing_key(did: str, document: dict[str, Any]) -> str | None:
    with needed_for("The check of a signature"):
        from atproto_core.exceptions import AtProtocolError  # pyright: ignore[reportMissingTypeStubs]
        from atproto_crypto.did import get_did_key, parse_did_key  # pyright: ignore[reportMissingTypeStubs]

    for method in _objects(document, "verificationMethod"):
        ident, kind, encoded = (method.get(key) for key in ("id", "type", "publicKeyMultibase"))
        if ident not in ("#atproto", f"{did}#atproto") or not isinstance(kind, str) or not isinstance(encoded, str):
            continue
        try:
            key = get_did_key(kind, encoded)
            if key is not None:
                parse_did_key(key)
                return key
        except (AtProtocolError, ValueError):
            continue
    return None


def _pds_endpoint(did: str, document: dict[str, Any]) -> str:
    for service in _objects(document, "service"):
        kind, ident, endpoint = (service.get(key) for key in ("type", "id", "serviceEndpoint"))
        if kind != "AtprotoPersonalDataServer" or ident not in ("#atproto_pds", f"{did}#atproto_pds"):
            continue
        if isinstance(endpoint, str):
            parts = urlsplit(endpoint)
            if parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc:
                return f"{parts.scheme}://{parts.netloc}"
    raise RecordNotFoundError(f"The account {did} names no PDS that holds its repository.", uri=f"at://{did}")


def _objects(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The objects in a list of the document."""
    items: Any = document.get(name)
    found = cast("list[Any]", items) if isinstance(items, list) else []
    return [cast("dict[str, Any]", item) for item in found if isinstance(item, dict)]
