"""What routes need of a request: its parameters, its body, and who sends it."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from atdata_pipelines.sandbox.pds.accounts import Account
from atdata_pipelines.sandbox.pds.data_model import is_cid, parse_json
from atdata_pipelines.sandbox.pds.errors import XrpcError, invalid
from atdata_pipelines.sandbox.pds.server import Pds

MAX_JSON_BYTES = 1_000_000


async def read_body(request: Request, limit: int) -> bytes:
    """The body.

    Raises:
        XrpcError: 413 where it is longer than ``limit`` bytes.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise XrpcError("PayloadTooLarge", "request entity too large", status=413)
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
            raise invalid(f'Missing required key "{name}" at input')
        return value

    def optional_text(self, name: str) -> str | None:
        """A string, or None where it is absent."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, str):
            raise invalid(f"Expected string value type at input/{name}")
        return value

    def optional_bool(self, name: str) -> bool | None:
        """A boolean, or None where it is absent."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, bool):
            raise invalid(f"Expected boolean value type at input/{name}")
        return value

    def optional_cid(self, name: str) -> str | None:
        """A CID, or None where it is absent or null."""
        value = self.optional_text(name)
        if value is not None and not is_cid(value):
            raise invalid(f"Invalid CID at input/{name}")
        return value

    def has(self, name: str) -> bool:
        """Whether the field is there, be it null."""
        return name in self._values

    def value(self, name: str) -> Any:
        """Anything that must be there."""
        if name not in self._values:
            raise invalid(f'Missing required key "{name}" at input')
        return self._values[name]


class Parameters:
    """A query's parameters."""

    def __init__(self, request: Request) -> None:
        self._values = request.query_params

    def text(self, name: str) -> str:
        """A string that must be there."""
        value = self._values.get(name)
        if not value:
            raise invalid(f'Params must have the property "{name}"')
        return value

    def optional_text(self, name: str) -> str | None:
        """A string, or None."""
        return self._values.get(name) or None

    def number(self, name: str, *, default: int, largest: int) -> int:
        """A number from 1 to ``largest``."""
        text = self._values.get(name)
        if text is None:
            return default
        if not text.isdecimal() or not 1 <= int(text) <= largest:
            raise invalid(f"{name} must be an integer from 1 to {largest}")
        return int(text)

    def flag(self, name: str) -> bool:
        """Whether it is ``true``."""
        return self._values.get(name) == "true"


def sender(pds: Pds, request: Request) -> Account:
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
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise XrpcError("AuthMissing", "Authentication Required", status=401)
    return token


def account_named(pds: Pds, repo: str) -> Account:
    """The account with that handle or DID.

    Raises:
        XrpcError: there is none here.
    """
    account = pds.accounts.find(repo)
    if account is None:
        raise invalid(f"Could not find repo: {repo}")
    return account
