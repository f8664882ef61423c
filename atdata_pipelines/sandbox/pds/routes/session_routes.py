"""``com.atproto.server`` and ``com.atproto.identity``: accounts, sessions, handles."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from atdata_pipelines.sandbox.pds.accounts import SandboxAccount
from atdata_pipelines.sandbox.pds.routes.inputs import Parameters, bearer_token, read_input, sender
from atdata_pipelines.sandbox.pds.server import Pds
from atdata_pipelines.sandbox.pds.xrpc_errors import XrpcError, invalid


async def describe_server(pds: Pds, request: Request) -> dict[str, Any]:
    """What the server offers."""
    return {"did": "did:web:localhost", "availableUserDomains": [".test"], "inviteCodeRequired": False}


async def create_account(pds: Pds, request: Request) -> dict[str, Any]:
    """A new account and its first session."""
    given = await read_input(request)
    account = pds.create_account(given.text("handle"), given.text("password"))
    return _identity(pds, account) | pds.tokens.open_session(account.did)


async def create_session(pds: Pds, request: Request) -> dict[str, Any]:
    """Log in."""
    given = await read_input(request)
    account = pds.accounts.login(given.text("identifier"), given.text("password"))
    return _identity(pds, account) | {"active": True} | pds.tokens.open_session(account.did)


async def refresh_session(pds: Pds, request: Request) -> dict[str, Any]:
    """New tokens for a refresh token."""
    did, tokens = pds.tokens.rotate(bearer_token(request))
    account = pds.accounts.find(did)
    if account is None:
        raise invalid(f"Could not find user info for account: {did}")
    return _identity(pds, account) | {"active": True} | tokens


async def get_session(pds: Pds, request: Request) -> dict[str, Any]:
    """Who is logged in."""
    return _identity(pds, sender(pds, request)) | {"active": True}


async def delete_session(pds: Pds, request: Request) -> None:
    """Log out."""
    pds.tokens.revoke(bearer_token(request))


async def resolve_handle(pds: Pds, request: Request) -> dict[str, Any]:
    """The DID of a handle of this server."""
    account = pds.accounts.find(Parameters(request).handle("handle"))
    if account is None:
        raise XrpcError("HandleNotFound", "Unable to resolve handle")
    return {"did": account.did}


def _identity(pds: Pds, account: SandboxAccount) -> dict[str, Any]:
    return {
        "did": account.did,
        "handle": account.handle,
        "didDoc": pds.accounts.did_document(account),
    }
