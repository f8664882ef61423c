"""Signing a write by the digest that the request names already: its bytes are not digested once more for that.

botocore signs the SHA-256 of every body that it sends, and takes it by itself, also where the same digest stands in
the request for the server to check.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
# botocore comes without types.

from __future__ import annotations

import base64
from functools import cache
from typing import Any

_PLAIN = ("v4", "s3v4")
_NAMED = "s3v4-named-digest"
_DIGEST = "x-amz-checksum-sha256"


def sign_by_named_digest(client: Any) -> None:
    """Let PutObject of a boto3 S3 client that signs be signed by its argument ``ChecksumSHA256``, where given."""
    _know_how()

    def choose(signature_version: Any, **_: Any) -> str | None:
        # Others are for what is signed in other ways: buckets of another kind, URLs.
        return _NAMED if signature_version in _PLAIN else None

    # The first one that chooses a signer counts.
    client.meta.events.register_first("choose-signer.s3.PutObject", choose)


@cache
def _know_how() -> None:
    from botocore.auth import AUTH_TYPE_MAPS, S3SigV4Auth

    class NamedDigest(S3SigV4Auth):
        def payload(self, request: Any) -> str:
            named = request.headers.get(_DIGEST)
            signs = self._should_sha256_sign_payload(request) and not self._is_streaming_checksum_payload(request)
            if not named or not signs:
                return super().payload(request)
            return base64.b64decode(named).hex()

    AUTH_TYPE_MAPS[_NAMED] = NamedDigest
