"""Session tokens: JWTs signed with a key of this server (HS256), and the refresh tokens in use."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from typing import Any

from atdata_pipelines.sandbox.pds.database import Database
from atdata_pipelines.sandbox.pds.xrpc_errors import XrpcError

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
