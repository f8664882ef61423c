"""Accounts: handles, DIDs, passwords, and the DID documents that a PLC directory serves."""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from atdata_pipelines.sandbox.pds.database import Database
from atdata_pipelines.sandbox.pds.repositories.repo_signing import Keys
from atdata_pipelines.sandbox.pds.syntax import is_did, is_handle, new_did
from atdata_pipelines.sandbox.pds.xrpc_errors import XrpcError, invalid

_SCRYPT = {"n": 2**14, "r": 8, "p": 1, "maxmem": 64 * 2**20}


@dataclass(frozen=True, slots=True)
class SandboxAccount:
    """An account of this server."""

    did: str
    handle: str


class Accounts:
    """The accounts in the database."""

    def __init__(self, database: Database, keys: Keys, service_url: str) -> None:
        self._database = database
        self._keys = keys
        self._service_url = service_url

    def create(self, handle: str, password: str) -> SandboxAccount:
        """A new account; to be called in a transaction.

        Raises:
            XrpcError: the handle is malformed or taken, or there is no password.
        """
        handle = handle.lower()
        if not is_handle(handle):
            raise invalid(f"Invalid handle: {handle}")
        if not password:
            raise invalid("Password is required")
        if self.find(handle):
            raise invalid(f"Handle already taken: {handle}")
        account = SandboxAccount(new_did(), handle)
        self._database.run(
            "insert into account values (?, ?, ?, ?)",
            account.did,
            handle,
            _hash(password, os.urandom(16)),
            datetime.now(UTC).isoformat(),
        )
        self._keys.make(account.did)
        return account

    def find(self, identifier: str) -> SandboxAccount | None:
        """The account with that handle or DID."""
        column = "did" if is_did(identifier) else "handle"
        row = self._database.one(f"select did, handle from account where {column} = ?", identifier)
        return SandboxAccount(row["did"], row["handle"]) if row else None

    def all(self) -> list[SandboxAccount]:
        """Every account, oldest first."""
        rows = self._database.all("select did, handle from account order by created_at, did")
        return [SandboxAccount(row["did"], row["handle"]) for row in rows]

    def without_key(self) -> list[SandboxAccount]:
        """The accounts that have no key yet."""
        rows = self._database.all("select did, handle from account where did not in (select did from signing_key)")
        return [SandboxAccount(row["did"], row["handle"]) for row in rows]

    def login(self, identifier: str, password: str) -> SandboxAccount:
        """The account, the password being right.

        Raises:
            XrpcError: 401, with the same words for a wrong password and an unknown account.
        """
        account = self.find(identifier if is_did(identifier) else identifier.lower())
        if account:
            row = self._database.one("select password from account where did = ?", account.did)
            assert row is not None
            kept: str = row["password"]
            if hmac.compare_digest(kept, _hash(password, bytes.fromhex(kept.partition("$")[0]))):
                return account
        raise XrpcError("AuthenticationRequired", "Invalid identifier or password", status=401)

    def did_document(self, account: SandboxAccount) -> dict[str, Any]:
        """Who the account is, which key signs its repository and which server keeps it."""
        return {
            "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
            "id": account.did,
            "alsoKnownAs": [f"at://{account.handle}"],
            "verificationMethod": [
                {
                    "id": f"{account.did}#atproto",
                    "type": "Multikey",
                    "controller": account.did,
                    "publicKeyMultibase": self._keys.multikey(account.did),
                }
            ],
            "service": [
                {
                    "id": "#atproto_pds",
                    "type": "AtprotoPersonalDataServer",
                    "serviceEndpoint": self._service_url,
                }
            ],
        }


# Slow on purpose for whoever guesses; who comes again with a password that was right is known at once. What it
# keeps lies in the memory of this process only, as passwords of the sandbox lie in its state anyway.
@lru_cache(maxsize=256)
def _hash(password: str, salt: bytes) -> str:
    return f"{salt.hex()}${hashlib.scrypt(password.encode(), salt=salt, **_SCRYPT).hex()}"
