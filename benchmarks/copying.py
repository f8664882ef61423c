"""Shards from place to place, byte for byte: how fast."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from statistics import median

from atdata_core.protocols import ShardFacts
from atdata_core.state.ledger import MemoryLedger
from atdata_pipelines.sandbox import Sandbox
from benchmarks.frame import Bench, Measured, Reach, expect, row, timed
from benchmarks.labs import MIB, Lab, random_lab, store_in
from benchmarks.services import rclone

THREADS = 32
_PEER_COPY = f"boto3 `copy_object`, {THREADS} threads, without a proof"

_PROOF = (
    "with rclone, which names the source's MD5 in the answer and digests an object when first looked at, that "
    "look is the proof. Ours looks before it copies that nothing is there; the peer writes over what it finds"
)


def lab_of(bench: Bench) -> Lab:
    """The shards that are copied from place to place."""
    count, size = bench.size((64, 8 * MIB), (8, MIB))
    return bench.once("a lab", lambda: random_lab(bench.services, count, size))


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

        def copy(shard: ShardFacts) -> None:
            key = shard.url.rpartition("/")[2]
            client.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": lab.bucket, "Key": key})

        with timed() as seconds, ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(copy, lab.shards))
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


@row("copy 64 x 8 MiB on one endpoint, its answer names the known MD5", peer=_PEER_COPY, reach=Reach(ratio=0.95))
def one_endpoint_md5(bench: Bench) -> Measured:
    """The answer to the copy names the MD5 that the inventory has; a promotion looks again before the record."""
    found = _on_one_endpoint(bench, lab_of(bench), "etag md5")
    return replace(found, note=f"{found.note}; {_PROOF}")


@row("copy 64 x 8 MiB on one endpoint, read back", peer=_PEER_COPY, reach=Reach(ratio=0.45))
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
            _rclone_copy(lab, other, bucket)
        listed = services.s3(other).list_objects_v2(Bucket=bucket)
        expect(listed["KeyCount"], len(lab.shards), "objects that rclone wrote")
        services.remove_bucket(other, bucket)
        return seconds[0]

    race = bench.race(ours, peer, amount=lab.size / 1e6, unit="MB/s", repeats=3)
    return Measured(race)


def _rclone_copy(lab: Lab, other: Sandbox, bucket: str) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
    environ["RCLONE_CONFIG"] = os.devnull
    # In the environment, so that no key stands in the list of processes.
    for remote, s3 in (("FROM", lab.s3), ("TO", other.s3)):
        environ |= {
            f"RCLONE_CONFIG_{remote}_TYPE": "s3",
            f"RCLONE_CONFIG_{remote}_PROVIDER": "Rclone",
            f"RCLONE_CONFIG_{remote}_ENDPOINT": s3["AWS_ENDPOINT"],
            f"RCLONE_CONFIG_{remote}_ACCESS_KEY_ID": s3["AWS_ACCESS_KEY_ID"],
            f"RCLONE_CONFIG_{remote}_SECRET_ACCESS_KEY": s3["AWS_SECRET_ACCESS_KEY"],
        }
    command = [rclone(), "copy", "--transfers", "8", f"from:{lab.bucket}", f"to:{bucket}"]
    subprocess.run(command, env=environ, check=True, capture_output=True)


ROWS = (one_endpoint_md5, one_endpoint_read_back, across_endpoints)
