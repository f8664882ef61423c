"""What is said of replies of a PDS, and addresses that nothing lies at."""

from __future__ import annotations

import httpx

RAW_CID = "bafkreiafaucqkbifaucqkbifaucqkbifaucqkbifaucqkbifaucqkbifau"
CBOR_CID = "bafyreiafaucqkbifaucqkbifaucqkbifaucqkbifaucqkbifaucqkbifau"
NOBODY = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"


def refused(reply: httpx.Response, status: int, error: str) -> bool:
    """Whether a reply is this refusal."""
    return (reply.status_code, reply.json()["error"]) == (status, error)
