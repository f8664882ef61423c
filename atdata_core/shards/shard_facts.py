"""What is known of a shard: found by reading it once, and sealed.

An index in Redis is shared, and whoever writes to it could record any digest. The seal says that processes of this
user have read or written these very bytes. It is an HMAC-SHA256 with a key that lies in the state folder, where
only this user reads it; without such a folder nothing is sealed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

from ..common.state_file import StateFile
from ..common.urls import displayed
from ..errors import StrayFilesError
from ..protocols import ShardFacts
from .packed_samples import typed_sample
from .tar_samples import PACKED, Strays, read_samples

_LONGEST_NAME = 200
_KEY = StateFile("seals", "key")
_known: dict[Path, bytes] = {}
"""Keys that were read, by where they lie."""


def read_facts(url: str, stream: BinaryIO, sample_type: type | None = None) -> ShardFacts:
    """Read a shard to its end: size, digests, and the number of samples.

    Raises:
        ShardCorruptError: It is no whole tar.
        SampleError: One of its samples is not of ``sample_type``, or holds a pickled array.
        StrayFilesError: A ``sample_type`` is given, and not every file is a sample.
    """
    digesting = _Digesting(stream)
    samples = 0
    strays = Strays()
    for record in read_samples(cast(BinaryIO, digesting), url=url, strays=strays):
        # What is no sample is counted to the end.
        if PACKED in record:
            samples += 1
            if sample_type is not None:
                typed_sample(record, url, sample_type)
    if sample_type is not None and strays.count:
        raise _refusal(url, strays)
    return ShardFacts(url, digesting.size, digesting.sha256.hexdigest(), digesting.md5.hexdigest(), samples)


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


def _refusal(url: str, strays: Strays) -> StrayFilesError:
    shown, first = displayed(url), strays.first[:_LONGEST_NAME]
    files = "1 file that is no sample" if strays.count == 1 else f"{strays.count:,} files that are no samples"
    return StrayFilesError(
        f"{shown} holds {files} ({strays}), first {first!r}: it would be published with them. In a published shard "
        "each file is a KEY.msgpack, a sample of the schema. Repo.insert() leaves out what belongs to no sample, "
        "and keeps files beside one: make what they hold fields of the sample type, or take them out of the tar. "
        "Then insert the dataset again.",
        url=shown,
        count=strays.count,
        first=first,
        suffixes=dict(strays.suffixes),
    )


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


class _Digesting:
    """A stream that counts and digests what passes through it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.sha256 = hashlib.sha256()
        self.md5 = hashlib.md5(usedforsecurity=False)
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.sha256.update(data)
        self.md5.update(data)
        self.size += len(data)
        return data
