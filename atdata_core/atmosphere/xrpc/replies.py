"""What goes over the wire: JSON as it is sent, and answers as they came."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from atdata_core.errors import ServiceRefusedError


@dataclass(frozen=True, slots=True)
class Reply:
    """A successful answer: ``body`` as it came, ``headers`` with lower-case names."""

    body: bytes
    headers: Mapping[str, str]


def encode_json(value: object) -> bytes:
    """JSON as it is sent: compact, UTF-8."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def put_request(did: str, collection: str, rkey: str, record: object, *, swap: str | None) -> dict[str, Any]:
    """The body of a putRecord; ``swap`` is the CID of the record that it replaces, None: there must be none."""
    # The typed client drops a None, so that an absent record is no condition any more.
    return {"repo": did, "collection": collection, "rkey": rkey, "record": record, "swapRecord": swap}


def apply_request(did: str, writes: Sequence[dict[str, Any]], *, swap: str) -> dict[str, Any]:
    """The body of an applyWrites; ``swap`` is the CID of the commit that it follows."""
    return {"repo": did, "writes": writes, "swapCommit": swap}


def as_object(reply: Reply, url: str) -> dict[str, Any]:
    """The JSON object of a reply.

    Raises:
        ServiceRefusedError: It is none: something else than the expected service answers at this URL.
    """
    try:
        value: Any = json.loads(reply.body) if reply.body else {}
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        service = url.partition("/xrpc/")[0]
        raise ServiceRefusedError(
            f"{service} answered {url} with something else than a JSON object. Is this the right address?",
            service=service,
            status=200,
            error=None,
        )
    return cast("dict[str, Any]", value)
