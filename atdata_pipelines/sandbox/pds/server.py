"""The parts of the PDS put together, and what its routes need of a request: its fields, its body, who sends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from starlette.requests import Request

from atdata_pipelines.sandbox.pds.accounts import Accounts, Keys, SandboxAccount, SessionTokens
from atdata_pipelines.sandbox.pds.data_model import is_cid, parse_json
from atdata_pipelines.sandbox.pds.database import Database
from atdata_pipelines.sandbox.pds.firehose import Firehose
from atdata_pipelines.sandbox.pds.repository import Blobs, Repositories
from atdata_pipelines.sandbox.pds.syntax import XrpcError, invalid, is_did, is_handle

T = TypeVar("T", str, bool)

MAX_JSON_BYTES = 1_000_000


class Pds:
    """What the routes work on.

    Args:
        folder: Where accounts and records are kept.
        service_url: Where this server is found, as DID documents say.
        invite_code: What whoever makes an account has to know; anybody may where it is empty.
    """

    def __init__(self, folder: Path, service_url: str, invite_code: str = "") -> None:
        self.invite_code = invite_code
        self.database = Database(folder / "pds.sqlite")
        self.keys = Keys(self.database)
        self.accounts = Accounts(self.database, self.keys, service_url)
        self.tokens = SessionTokens(self.database)
        self.blobs = Blobs(self.database)
        self.firehose = Firehose(self.database)
        self.repositories = Repositories(self.database, self.blobs, self.keys, self.firehose)
        # Folders of before have accounts without keys.
        for account in self.accounts.without_key():
            with self.database.transaction():
                self.keys.make(account.did)
                self.firehose.identity(account.did, account.handle)
                self.repositories.sign(account.did)

    def create_account(self, handle: str, password: str) -> SandboxAccount:
        """A new account with an empty repository."""
        with self.database.transaction():
            account = self.accounts.create(handle, password)
            self.firehose.identity(account.did, account.handle)
            self.firehose.account(account.did)
            self.repositories.create(account.did)
        return account

    def sender(self, request: Request) -> SandboxAccount:
        """The account whose access token came with the request.

        Raises:
            XrpcError: 401 without a token, 400 with a bad one.
        """
        account = self.accounts.find(self.tokens.did_of(bearer_token(request)))
        if account is None:
            raise XrpcError("AuthenticationRequired", "Account not found", status=401)
        return account

    def account_of(self, did: str) -> SandboxAccount:
        """The account of a handle or DID; raises ``XrpcError`` (400) where it is not here."""
        account = self.accounts.find(did)
        if account is None:
            raise XrpcError("RepoNotFound", f"Could not find repo for DID: {did}")
        return account


class RequestFields:
    """What a request says, field by field; each reader raises ``XrpcError`` (400) for what it cannot take."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    @classmethod
    def of_query(cls, request: Request) -> RequestFields:
        """The parameters of a query; an empty one is absent."""
        return cls({name: value for name, value in request.query_params.items() if value})

    @classmethod
    async def of_body(cls, request: Request) -> RequestFields:
        """The JSON object that a procedure takes."""
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise invalid("Wrong request encoding (Content-Type): application/json is expected")
        value = parse_json(await read_body(request, MAX_JSON_BYTES))
        if not isinstance(value, dict):
            raise invalid("Expected object value type at input")
        return cls(value)

    def has(self, name: str) -> bool:
        """Whether the field is there, be it null."""
        return name in self._values

    def value(self, name: str) -> Any:
        """Anything that must be there."""
        if name not in self._values:
            raise invalid(f'Missing required key "{name}"')
        return self._values[name]

    def text(self, name: str) -> str:
        """A string that must be there."""
        self.value(name)
        return self._optional(name, str) or ""

    def optional_text(self, name: str) -> str | None:
        """A string, or None where it is absent."""
        return self._optional(name, str)

    def optional_bool(self, name: str) -> bool | None:
        """A boolean, or None where it is absent."""
        return self._optional(name, bool)

    def repo(self) -> str:
        """The handle or DID ``repo``."""
        return _checked(self.text("repo"), "AT identifier", lambda text: is_did(text) or is_handle(text.lower()))

    def did(self) -> str:
        """The DID ``did``."""
        return _checked(self.text("did"), "DID", is_did)

    def handle(self) -> str:
        """The handle ``handle``, in lower case."""
        return _checked(self.text("handle").lower(), "handle", is_handle)

    def cid(self, name: str) -> str:
        """A CID that must be there."""
        return _checked(self.text(name), "CID string", is_cid)

    def optional_cid(self, name: str) -> str | None:
        """A CID, or None where it is absent."""
        return self.cid(name) if self.has(name) else None

    def number(self, name: str, *, default: int, largest: int) -> int:
        """A number of a query, from 1 to ``largest``."""
        text = self.optional_text(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= largest:
            raise invalid(f"{name} must be an integer from 1 to {largest}")
        return int(text)

    def flag(self, name: str) -> bool:
        """Whether a parameter of a query is ``true``; it is false where absent."""
        text = self.optional_text(name)
        if text not in (None, "true", "false"):
            raise invalid(f"Expected boolean value type: {name}")
        return text == "true"

    def _optional(self, name: str, kind: type[T]) -> T | None:
        if name not in self._values:
            return None
        if not isinstance(value := self._values[name], kind):
            raise invalid(f"Expected {kind.__name__} value type at $.{name}")
        return value


async def read_body(request: Request, limit: int, *, too_large: str = "PayloadTooLargeError") -> bytes:
    """The body.

    Raises:
        XrpcError: 413, with ``too_large`` for its name, where it is longer than ``limit`` bytes.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise XrpcError(too_large, "request entity too large", status=413)
    return bytes(body)


def bearer_token(request: Request) -> str:
    """The token of the ``Authorization`` header."""
    header = request.headers.get("authorization", "")
    if not header:
        raise XrpcError("AuthMissing", "Authentication Required", status=401)
    kind, _, token = header.partition(" ")
    if kind.lower() != "bearer" or not token:
        raise XrpcError("InvalidToken", "Malformed authorization header")
    return token


def _checked(text: str, what: str, good: Callable[[str], bool]) -> str:
    if not good(text):
        raise invalid(f"Invalid {what}: {text}")
    return text
