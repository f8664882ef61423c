"""The account of a sandbox on its PDS."""

from __future__ import annotations

import httpx

from atdata_pipelines.sandbox.sandbox_errors import SandboxError


def ensure_account(pds_url: str, handle: str, password: str) -> str:
    """The DID of the account ``handle``, which is created where it is not there.

    Raises:
        SandboxError: the account is there with another password, or cannot be created.
    """
    # No proxy of the environment has anything to do with a server on this machine.
    with httpx.Client(base_url=f"{pds_url}/xrpc/", timeout=30, trust_env=False) as client:
        known = client.get("com.atproto.identity.resolveHandle", params={"handle": handle})
        if known.is_success:
            given = {"identifier": handle, "password": password}
            reply = client.post("com.atproto.server.createSession", json=given)
            if reply.is_success:
                return reply.json()["did"]
            raise SandboxError(
                f"The account {handle} of this sandbox has another password. Leave the password out, or give"
                " another handle or another folder.",
                handle=handle,
            )
        given = {"handle": handle, "password": password, "email": f"someone@{handle}"}
        reply = client.post("com.atproto.server.createAccount", json=given)
        if reply.is_success:
            return reply.json()["did"]
        raise SandboxError(
            f"The PDS did not create the account {handle}: {reply.json().get('message')}", handle=handle
        )
