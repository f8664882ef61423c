"""Tars that earlier versions of atdata wrote hold the values that are on record."""

import base64
import io
import json
from pathlib import Path
from typing import Optional

import numpy as np
import pytest
from numpy.typing import NDArray

import atdata_core as atdata
from atdata_core.errors import SampleError
from atdata_core.shards.tar_samples import read_samples


@atdata.packable
class Prims:
    s: str
    i: int
    f: float
    b: bool
    raw: bytes
    names: list[str]
    nums: list[int]
    opt_s: Optional[str]  # noqa: UP045
    opt_i: int | None


@atdata.packable
class Arr:
    name: str
    a: NDArray
    opt_a: NDArray | None
    b: bytes


TYPES = {"Prims": Prims, "Arr": Arr}


def recorded(value: dict) -> object:
    """The value that the manifest describes."""
    match value["t"]:
        case "null":
            return None
        case "int":
            return int(value["v"])
        case "float":
            return float.fromhex(value["hex"])
        case "bytes":
            return bytes.fromhex(value["hex"])
        case "list":
            return [recorded(item) for item in value["v"]]
        case "ndarray":
            return np.load(io.BytesIO(base64.b64decode(value["npy_b64"])), allow_pickle=False)
        case _:
            return value["v"]


def exactly(found: object, wanted: object) -> bool:
    if type(found) is not type(wanted):
        return False
    if isinstance(found, np.ndarray):
        # The bytes: NaN, byte order and negative zero included.
        return (found.dtype, found.shape, found.tobytes()) == (wanted.dtype, wanted.shape, wanted.tobytes())
    if isinstance(found, float):
        return found.hex() == wanted.hex()
    return found == wanted


@pytest.mark.parametrize("version", ["atdata-0.2.2b1", "atdata-0.7.0b1"])
def test_every_sample_of_an_earlier_version_is_read_exactly(golden: Path, version: str):
    manifest = json.loads((golden / version / "manifest.json").read_text())
    assert manifest["files"]
    for file in manifest["files"]:
        tar = golden / version / file["file"]
        sample_type = TYPES[file["type"]]
        samples = list(atdata.Dataset[sample_type](str(tar)).ordered())
        with tar.open("rb") as stream:
            keys = [sample["__key__"] for sample in read_samples(stream, url=str(tar))]
        assert keys == [entry["key"] for entry in file["samples"]]
        assert len(samples) == file["n"]
        for sample, entry in zip(samples, file["samples"], strict=True):
            for name, value in entry["values"].items():
                assert exactly(getattr(sample, name), recorded(value)), (tar, entry["key"], name)
            # What we write of it is read the same.
            assert sample_type.from_bytes(sample.packed) == sample


def test_an_object_array_of_an_earlier_version_is_refused_without_unpickling(golden: Path):
    payload = (golden / "atdata-0.2.2b1" / "object_array.msgpack.bin").read_bytes()
    with pytest.raises(SampleError, match="pickle") as caught:
        Arr.from_bytes(payload)
    assert caught.value.field == "a"
