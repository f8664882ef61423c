"""Accounts: handles, DIDs, passwords, the keys that sign their repositories, and their sessions."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import libipld
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from atdata_pipelines.sandbox.pds.database import Database
from atdata_pipelines.sandbox.pds.syntax import XrpcError, invalid, is_did, is_handle, new_did

_ORDER = 0xFFFFFFFF_00000000_FFFFFFFF_FFFFFFFF_BCE6FAAD_A7179E84_F3B9CAC2_FC632551
_P256_PUBLIC = b"\x80\x24"
_ECDSA = ec.ECDSA(SHA256())


class Keys:
    """The keys in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loaded: dict[str, ec.EllipticCurvePrivateKey] = {}

    def make(self, did: str) -> None:
        """A key for an account that has none; to be called in a transaction."""
        secret = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
        self._database.run("insert into signing_key values (?, ?)", did, f"{secret:064x}")

    def multikey(self, did: str) -> str:
        """The public key of an account, as a DID document has it."""
        point = self._of(did).public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        return libipld.encode_multibase("z", _P256_PUBLIC + point)

    def sign(self, did: str, data: bytes) -> bytes:
        """The signature of an account, 64 bytes."""
        r, s = decode_dss_signature(self._of(did).sign(data, _ECDSA))
        # Of the two signatures that would do, the network takes the one with the smaller number.
        return r.to_bytes(32, "big") + min(s, _ORDER - s).to_bytes(32, "big")

    def _of(self, did: str) -> ec.EllipticCurvePrivateKey:
        if did not in self._loaded:
            row = self._database.one("select secret from signing_key where did = ?", did)
            assert row is not None
            self._loaded[did] = ec.derive_private_key(int(row["secret"], 16), ec.SECP256R1())
        return self._loaded[did]


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

    def list(self, *, limit: int, cursor: str | None) -> tuple[list[str], str | None]:
        """A page of the DIDs, oldest account first, and the cursor of the next page; none where the page is empty.

        Raises:
            XrpcError: the cursor is none of this server.
        """
        created, between, did = (cursor or "::").partition("::")
        if not between:
            raise invalid("Malformed cursor")
        rows = self._database.all(
            "select did, created_at from account where (created_at, did) > (?, ?) order by created_at, did limit ?",
            created,
            did,
            limit,
        )
        return [row["did"] for row in rows], f"{rows[-1]['created_at']}::{rows[-1]['did']}" if rows else None

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


ACCESS, REFRESH = "com.atproto.access", "com.atproto.refresh"

ACCESS_SECONDS = 2 * 60 * 60
REFRESH_SECONDS = 90 * 24 * 60 * 60
GRACE_SECONDS = 2 * 60 * 60
"""How long a refresh token that was used still gives the same successor: the reply may have been lost."""


class SessionTokens:
    """Makes and checks tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._key = database.setting("token key", secrets.token_hex(32)).encode()

    def open_session(self, did: str) -> dict[str, str]:
        """A new pair: ``accessJwt`` and ``refreshJwt``."""
        return self._pair(did, secrets.token_urlsafe(32))

    def rotate(self, refresh_token: str) -> tuple[str, dict[str, str]]:
        """The DID and a new pair for a refresh token, which soon ends.

        Raises:
            XrpcError: the token is not ours, has ended or was revoked.
        """
        claims = self._claims(refresh_token, REFRESH)
        row = self._database.one("select * from refresh_token where id = ?", claims["jti"])
        if row is None or row["expires"] < time.time():
            raise XrpcError("ExpiredToken", "Token has been revoked")
        successor = row["next"] or secrets.token_urlsafe(32)
        with self._database.transaction():
            self._database.run(
                "update refresh_token set next = ?, expires = min(expires, ?) where id = ?",
                successor,
                int(time.time()) + GRACE_SECONDS,
                row["id"],
            )
            return row["did"], self._pair(row["did"], successor)

    def revoke(self, refresh_token: str) -> None:
        """End the session of a refresh token. Its access token lives on until it expires."""
        claims = self._claims(refresh_token, REFRESH, expired_too=True)
        self._database.run("delete from refresh_token where id = ?", claims["jti"])

    def did_of(self, access_token: str) -> str:
        """Whose access token it is.

        Raises:
            XrpcError: the token is not ours or has expired.
        """
        return self._claims(access_token, ACCESS)["sub"]

    def _pair(self, did: str, refresh_id: str) -> dict[str, str]:
        now = int(time.time())
        self._database.run(
            "insert or ignore into refresh_token values (?, ?, ?, null)", refresh_id, did, now + REFRESH_SECONDS
        )
        access = {"scope": ACCESS, "sub": did, "iat": now, "exp": now + ACCESS_SECONDS}
        refresh = {"scope": REFRESH, "sub": did, "jti": refresh_id, "iat": now, "exp": now + REFRESH_SECONDS}
        return {"accessJwt": self._sign(access), "refreshJwt": self._sign(refresh)}

    def _sign(self, claims: dict[str, Any]) -> str:
        parts = [_encode(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "HS256"}, claims)]
        signed = ".".join(parts)
        return f"{signed}.{_encode(self._signature(signed))}"

    def _signature(self, text: str) -> bytes:
        return hmac.digest(self._key, text.encode(), hashlib.sha256)

    def _claims(self, token: str, scope: str, *, expired_too: bool = False) -> dict[str, Any]:
        signed, _, signature = token.rpartition(".")
        try:
            genuine = hmac.compare_digest(_decode(signature), self._signature(signed))
            claims = json.loads(_decode(signed.split(".")[1])) if genuine else {}
        except (ValueError, IndexError, binascii.Error):
            claims = {}
        if not claims:
            raise XrpcError("InvalidToken", "Token could not be verified")
        if claims["exp"] < time.time() and not expired_too:
            raise XrpcError("ExpiredToken", "Token has expired")
        if claims["scope"] != scope:
            raise XrpcError("InvalidToken", "Bad token scope")
        return claims


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
