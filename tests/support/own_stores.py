"""Data stores of people's own making: from the least that one has to do to the base class."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, BinaryIO

from atdata_core.errors import ShardChangedError, ShardConflictError, ShardMissingError
from atdata_core.protocols import ShardStat
from atdata_core.shards.tar_samples import ShardWriter
from atdata_core.stores.data_store import DataStore


class FolderStore:
    """Samples in a folder, in shards of four: the three methods, and no base class."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url

    def write_shards(self, ds: Any, *, prefix: str, **_: Any) -> list[str]:
        samples = list(ds.ordered())
        urls: list[str] = []
        for start in range(0, len(samples), 4):
            path = self.folder / prefix / f"{start}.tar"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file, ShardWriter(file) as shard:
                for number, sample in enumerate(samples[start : start + 4], start):
                    shard.write({**sample.as_wds, "__key__": f"{number}"})
            urls.append(f"{self.url}/{prefix}/{start}.tar")
        return urls

    def read_url(self, url: str) -> str:
        return str(self.folder) + url.removeprefix(self.url)

    def supports_streaming(self) -> bool:
        return True


class CopyingStore(FolderStore):
    """One that takes shards byte for byte as well, and says no more of them."""

    def put_shard(self, name: str, stream: BinaryIO, *, size: int, sha256: str) -> str:
        data = read_exactly(stream, f"{self.url}/{name}", size, sha256)
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return f"{self.url}/{name}"


class ProvingStore(CopyingStore):
    """One that also says where a copy lies, and whether it is right; it opens its shards itself."""

    def shard_url(self, name: str) -> str:
        return f"{self.url}/{name}"

    def put_shard(self, name: str, stream: BinaryIO, *, size: int, sha256: str) -> str:
        url = self.shard_url(name)
        if self.prove_shard(url, size=size, sha256=sha256) is None:
            super().put_shard(name, stream, size=size, sha256=sha256)
        return url

    def prove_shard(self, url: str, *, size: int, sha256: str, md5: str | None = None) -> str | None:
        path = Path(self.read_url(url))
        if not path.exists():
            return None
        if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            raise ShardConflictError(f"{url}: another file", url=url)
        return "read back"

    def open_shard(self, url: str) -> BinaryIO:
        try:
            return open(self.read_url(url), "rb")
        except FileNotFoundError:
            raise ShardMissingError(f"{url} is not there", url=url) from None

    def stat_shard(self, url: str) -> ShardStat:
        with self.open_shard(url) as stream:
            return ShardStat(size=os.fstat(stream.fileno()).st_size)


class DerivedStore(DataStore):
    """One that inherits: what it writes, and where that lies; the rest follows."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url

    def __repr__(self) -> str:
        return f"DerivedStore({self.folder}, {self.url})"

    def read_url(self, url: str) -> str:
        return str(self.folder) + url.removeprefix(self.url)

    def shard_url(self, name: str) -> str:
        return f"{self.url}/{name}"

    def shard_name(self, url: str, *, endpoint: str | None = None) -> str | None:
        return url.removeprefix(f"{self.url}/") if url.startswith(f"{self.url}/") else None

    def put_shard(self, name: str, stream: BinaryIO, *, size: int, sha256: str) -> str:
        url = self.shard_url(name)
        if self.prove_shard(url, size=size, sha256=sha256) is None:
            data = read_exactly(stream, url, size, sha256)
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return url

    def remove_shard(self, url: str, *, size: int, sha256: str, md5: str | None = None) -> bool:
        if self.prove_shard(url, size=size, sha256=sha256) is None:
            return False
        Path(self.read_url(url)).unlink()
        return True


def read_exactly(stream: BinaryIO, url: str, size: int, sha256: str) -> bytes:
    """All bytes of a stream; ``ShardChangedError`` where they are not those that were recorded."""
    data = b""
    while len(data) <= size and (chunk := stream.read(size + 1)):
        data += chunk
    if (len(data), hashlib.sha256(data).hexdigest()) != (size, sha256):
        raise ShardChangedError(f"{url}: other bytes", url=url)
    return data
