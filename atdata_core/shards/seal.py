"""A seal on what is known of a shard: processes of this user have read or written these very bytes.

An index in Redis is shared, and whoever writes to it could record any digest. The seal is an HMAC-SHA256 with a
key that lies in the state folder, where only this user reads it; without such a folder nothing is sealed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import replace
from pathlib import Path

from ..common.state_file import StateFile
from ..protocols import ShardFacts

_KEY = StateFile("seals", "key")
_known: dict[Path, bytes] = {}
"""Keys that were read, by where they lie."""


def sealed(facts: ShardFacts) -> ShardFacts:
    """Facts that this process has found by itself, with this user's seal; without one where there is no key."""
    key = _read_key() or _make_key()
    return replace(facts, seal=None if key is None else _seal_of(facts, key))


def is_sealed(facts: ShardFacts) -> bool:
    """Whether the facts are as processes of this user have found them. Makes no key."""
    key = _read_key() if facts.seal else None
    if key is None or facts.seal is None:
        return False
    # Encoded, because it may hold anything.
    return hmac.compare_digest(facts.seal.encode(errors="replace"), _seal_of(facts, key).encode())


def _seal_of(facts: ShardFacts, key: bytes) -> str:
    text = json.dumps(replace(facts, seal=None).to_json(), sort_keys=True, separators=(",", ":"))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _read_key() -> bytes | None:
    try:
        path = _KEY.path
    except OSError:
        return None
    if path not in _known:
        found = (_KEY.read() or {}).get("key")
        try:
            key = bytes.fromhex(found) if isinstance(found, str) else b""
        except ValueError:
            key = b""
        if len(key) != hashlib.sha256().digest_size:
            return None
        _known[path] = key
    return _known[path]


def _make_key() -> bytes | None:
    with _KEY.locked() as held:
        # Another process may have made it meanwhile.
        if held and _read_key() is None:
            _KEY.write({"key": secrets.token_hex(hashlib.sha256().digest_size)})
        return _read_key()
