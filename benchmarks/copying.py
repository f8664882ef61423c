"""Shards from place to place, byte for byte: how fast."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from statistics import median
from typing import Any

from atdata_core.state.ledger import MemoryLedger
from benchmarks.frame import Bench, Measured, Reach, expect, row, timed
from benchmarks.labs import MIB, Lab, random_lab, store_in
from benchmarks.services import rclone

THREADS = 32
PEER_COPY = f"boto3 `copy_object`, {THREADS} threads, without a proof"

_PROOF = (
    "with rclone, which names the source's MD5 in the answer and digests an object when first looked at, that "
    "look is the proof. Ours looks before it copies that nothing is there; the peer writes over what it finds"
)


def lab_of(bench: Bench) -> Lab:
    """The shards that are copied from place to place."""
    count, size = bench.size((64, 8 * MIB), (8, MIB))
    return bench.once("a lab", lambda: random_lab(bench.services, count, size))


def bare_copy(client: Any, source: str, keys: Sequence[str], target: str) -> None:
    """Copy objects of one bucket into another by ``copy_object``, and nothing else."""

    def copy(key: str) -> None:
        client.copy_object(Bucket=target, Key=key, CopySource={"Bucket": source, "Key": key})

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(copy, keys))


def _on_one_endpoint(bench: Bench, lab: Lab, proof: str) -> Measured:
    services, box = bench.services, bench.services.box
    client = services.s3(box)
    looks: list[float] = []
    ours_cpu: list[float] = []
    peers_cpu: list[float] = []

    def ours() -> float:
        bucket, ledger = services.new_bucket(box), MemoryLedger()
        with timed() as seconds:
            copies = lab.copied_into(store_in(lab.s3, bucket), ledger)
        expect(set(copies.proofs), {proof}, "proofs of the copies")
        with timed() as looking:
            lab.copied_into(store_in(lab.s3, bucket), ledger)
        looks.append(looking[0])
        ours_cpu.append(seconds[1])
        services.remove_bucket(box, bucket)
        return seconds[0]

    def peer() -> float:
        bucket = services.new_bucket(box)

        keys = [shard.url.rpartition("/")[2] for shard in lab.shards]
        with timed() as seconds:
            bare_copy(client, lab.bucket, keys, bucket)
        peers_cpu.append(seconds[1])
        services.remove_bucket(box, bucket)
        return seconds[0]

    race = bench.race(ours, peer, amount=lab.size / 1e6, unit="MB/s", repeats=3)
    note = (
        f"the client takes {median(ours_cpu):.2f} s of CPU for ours, {median(peers_cpu):.2f} s for the peer's, and "
        "rclone all the rest; a promotion looks at every copy once more before its record, which takes "
        f"{median(looks):.2f} s"
    )
    return Measured(race, note=note)


@row("copy 64 x 8 MiB on one endpoint, its answer names the known MD5", peer=PEER_COPY, reach=Reach(ratio=0.95))
def one_endpoint_md5(bench: Bench) -> Measured:
    """The answer to the copy names the MD5 that the inventory has; a promotion looks again before the record."""
    found = _on_one_endpoint(bench, lab_of(bench), "etag md5")
    return replace(found, note=f"{found.note}; {_PROOF}")


@row("copy 64 x 8 MiB on one endpoint, read back", peer=PEER_COPY, reach=Reach(ratio=0.45))
def one_endpoint_read_back(bench: Bench) -> Measured:
    """No MD5 is known, so every copy is read."""
    lab = lab_of(bench)
    unknown = lab._replace(shards=tuple(replace(shard, md5=None) for shard in lab.shards))
    return _on_one_endpoint(bench, unknown, "read back")


@row("copy 64 x 8 MiB across endpoints, with SHA-256", peer="`rclone copy --transfers 8`", reach=Reach(ratio=1))
def across_endpoints(bench: Bench) -> Measured:
    """From one S3 server to another."""
    services, lab, other = bench.services, lab_of(bench), bench.services.other_box

    def ours() -> float:
        bucket = services.new_bucket(other)
        with timed() as seconds:
            copies = lab.copied_into(store_in(other.s3, bucket), MemoryLedger())
        expect(copies.bytes_written, lab.size, "bytes written by us")
        services.remove_bucket(other, bucket)
        return seconds[0]

    def peer() -> float:
        bucket = services.new_bucket(other)
        with timed() as seconds:
            remotes = {"from": lab.s3, "to": other.s3}
            rclone_copy(f"from:{lab.bucket}", f"to:{bucket}", remotes, "--transfers", "8")
        listed = services.s3(other).list_objects_v2(Bucket=bucket)
        expect(listed["KeyCount"], len(lab.shards), "objects that rclone wrote")
        services.remove_bucket(other, bucket)
        return seconds[0]

    race = bench.race(ours, peer, amount=lab.size / 1e6, unit="MB/s", repeats=3)
    return Measured(race)


def rclone_copy(source: str, target: str, remotes: Mapping[str, Mapping[str, str]], *options: str) -> None:
    """Run ``rclone copy``; S3 servers are ``remotes``, by the names that source and target begin with."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
    environ["RCLONE_CONFIG"] = os.devnull
    # In the environment, so that no key stands in the list of processes.
    for name, s3 in remotes.items():
        prefix = f"RCLONE_CONFIG_{name.upper()}"
        environ |= {
            f"{prefix}_TYPE": "s3",
            f"{prefix}_PROVIDER": "Rclone",
            f"{prefix}_ENDPOINT": s3["AWS_ENDPOINT"],
            f"{prefix}_ACCESS_KEY_ID": s3["AWS_ACCESS_KEY_ID"],
            f"{prefix}_SECRET_ACCESS_KEY": s3["AWS_SECRET_ACCESS_KEY"],
        }
    subprocess.run([rclone(), "copy", *options, source, target], env=environ, check=True, capture_output=True)


ROWS = (one_endpoint_md5, one_endpoint_read_back, across_endpoints)
