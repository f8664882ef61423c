"""``com.atproto.sync``: what other servers ask."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from atdata_pipelines.sandbox.pds.repositories.repository import check_key
from atdata_pipelines.sandbox.pds.routes.inputs import Parameters, repo_not_found
from atdata_pipelines.sandbox.pds.server import Pds


async def get_blob(pds: Pds, request: Request) -> Response:
    """A blob's bytes, to anybody, never as something that a browser would run."""
    parameters = Parameters(request)
    did, cid = parameters.did("did"), parameters.cid("cid")
    if pds.accounts.find(did) is None:
        raise repo_not_found(did)
    data, mime = pds.blobs.read(did, cid)
    return Response(
        data,
        media_type=mime,
        headers={
            "x-content-type-options": "nosniff",
            "content-disposition": f'attachment; filename="{cid}"',
            "content-security-policy": "default-src 'none'; sandbox",
        },
    )


async def get_latest_commit(pds: Pds, request: Request) -> dict[str, Any]:
    """The state of a repository: changes with every write that changes something."""
    did = Parameters(request).did("did")
    if pds.accounts.find(did) is None:
        raise repo_not_found(did)
    return pds.repositories.head(did).to_json()


async def get_record(pds: Pds, request: Request) -> Response:
    """The proof of what is, or is not, under a key: the signed commit, the way down its tree, the record."""
    parameters = Parameters(request)
    did, collection, rkey = parameters.did("did"), parameters.text("collection"), parameters.text("rkey")
    check_key(collection, rkey)
    if pds.accounts.find(did) is None:
        raise repo_not_found(did)
    return Response(pds.repositories.prove(did, collection, rkey), media_type="application/vnd.ipld.car")


async def list_repos(pds: Pds, request: Request) -> dict[str, Any]:
    """Every repository here, on one page."""
    repos: list[dict[str, Any]] = []
    for account in pds.accounts.all():
        head = pds.repositories.head(account.did)
        repos.append({"did": account.did, "head": head.cid, "rev": head.rev, "active": True})
    return {"repos": repos}
