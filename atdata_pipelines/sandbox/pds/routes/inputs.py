"""What routes need of a request: its parameters, its body, and who sends it."""

from __future__ import annotations

from typing import Any, TypeVar

from starlette.requests import Request

from atdata_pipelines.sandbox.pds.accounts import SandboxAccount
from atdata_pipelines.sandbox.pds.repositories.data_model import is_cid, parse_json
from atdata_pipelines.sandbox.pds.server import Pds
from atdata_pipelines.sandbox.pds.syntax import is_did, is_handle
from atdata_pipelines.sandbox.pds.xrpc_errors import XrpcError, invalid

T = TypeVar("T", str, bool)

MAX_JSON_BYTES = 1_000_000


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


async def read_input(request: Request) -> Input:
    """The JSON object that a procedure takes."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise invalid("Wrong request encoding (Content-Type): application/json is expected")
    value = parse_json(await read_body(request, MAX_JSON_BYTES))
    if not isinstance(value, dict):
        raise invalid("Expected object value type at input")
    return Input(value)


class Input:
    """A procedure's input, read field by field."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def text(self, name: str) -> str:
        """A string that must be there."""
        value = self.optional_text(name)
        if value is None:
            raise invalid(f'Missing required key "{name}"')
        return value

    def repo(self, name: str) -> str:
        """A handle or DID that must be there."""
        return _repo(self.text(name))

    def optional_text(self, name: str) -> str | None:
        """A string, or None where it is absent."""
        return self._optional(name, str)

    def optional_bool(self, name: str) -> bool | None:
        """A boolean, or None where it is absent."""
        return self._optional(name, bool)

    def optional_cid(self, name: str) -> str | None:
        """A CID, or None where it is absent."""
        value = self.optional_text(name)
        return None if value is None else _cid(value)

    def cid_or_null(self, name: str) -> str | None:
        """A CID, or None where it is null."""
        return None if self.value(name) is None else self.optional_cid(name)

    def has(self, name: str) -> bool:
        """Whether the field is there, be it null."""
        return name in self._values

    def value(self, name: str) -> Any:
        """Anything that must be there."""
        if name not in self._values:
            raise invalid(f'Missing required key "{name}"')
        return self._values[name]

    def _optional(self, name: str, kind: type[T]) -> T | None:
        if name not in self._values:
            return None
        if not isinstance(value := self._values[name], kind):
            raise invalid(f"Expected {kind.__name__} value type at $.{name}")
        return value


class Parameters:
    """A query's parameters."""

    def __init__(self, request: Request) -> None:
        self._values = request.query_params

    def text(self, name: str) -> str:
        """A string that must be there."""
        value = self._values.get(name)
        if not value:
            raise invalid(f'Missing required key "{name}"')
        return value

    def repo(self, name: str) -> str:
        """A handle or DID that must be there."""
        return _repo(self.text(name))

    def did(self, name: str) -> str:
        """A DID that must be there."""
        if not is_did(value := self.text(name)):
            raise invalid(f"Invalid DID: {value}")
        return value

    def handle(self, name: str) -> str:
        """A handle that must be there, in lower case."""
        if not is_handle(value := self.text(name).lower()):
            raise invalid(f"Invalid handle: {value}")
        return value

    def cid(self, name: str) -> str:
        """A CID that must be there."""
        return _cid(self.text(name))

    def optional_cid(self, name: str) -> str | None:
        """A CID, or None."""
        value = self.optional_text(name)
        return None if value is None else _cid(value)

    def optional_text(self, name: str) -> str | None:
        """A string, or None."""
        return self._values.get(name) or None

    def number(self, name: str, *, default: int, largest: int) -> int:
        """A number from 1 to ``largest``."""
        text = self.optional_text(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= largest:
            raise invalid(f"{name} must be an integer from 1 to {largest}")
        return int(text)

    def flag(self, name: str) -> bool:
        """Whether it is ``true``; it is false where absent."""
        text = self.optional_text(name)
        if text not in (None, "true", "false"):
            raise invalid(f"Expected boolean value type: {name}")
        return text == "true"


def sender(pds: Pds, request: Request) -> SandboxAccount:
    """The account whose access token came with the request.

    Raises:
        XrpcError: 401 without a token, 400 with a bad one.
    """
    account = pds.accounts.find(pds.tokens.did_of(bearer_token(request)))
    if account is None:
        raise XrpcError("AuthenticationRequired", "Account not found", status=401)
    return account


def bearer_token(request: Request) -> str:
    """The token of the ``Authorization`` header."""
    header = request.headers.get("authorization", "")
    if not header:
        raise XrpcError("AuthMissing", "Authentication Required", status=401)
    kind, _, token = header.partition(" ")
    if kind.lower() != "bearer" or not token:
        raise XrpcError("InvalidToken", "Malformed authorization header")
    return token


def repo_not_found(repo: str) -> XrpcError:
    """What is said of a repository that is not here."""
    return XrpcError("RepoNotFound", f"Could not find repo for DID: {repo}")


def _repo(text: str) -> str:
    if not is_did(text) and not is_handle(text.lower()):
        raise invalid(f"Invalid AT identifier: {text}")
    return text


def _cid(text: str) -> str:
    if not is_cid(text):
        raise invalid(f"Invalid CID string: {text}")
    return text
