"""Sample types whose annotations are strings, and which live in functions."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from typing import ClassVar, Optional

import numpy as np
import pytest
from numpy.typing import NDArray

import atdata_core as atdata
from atdata_core.errors import SchemaError
from atdata_core.samples.sample_types import sample_fields


@atdata.packable
class Image:
    caption: Optional[str] = None  # noqa: UP045
    pixels: NDArray[np.uint8]
    mask: NDArray | None = None
    tags: list[str]
    kind: ClassVar[str] = "image"


def kinds(sample_type: type) -> dict[str, str]:
    return {described.name: described.kind for described in sample_fields(sample_type)}


def test_string_annotations_are_understood():
    sample = Image(pixels=np.zeros((2, 2), np.uint8), tags=["a"])
    assert Image.from_bytes(sample.packed) == sample
    assert kinds(Image) == {"caption": "str", "pixels": "ndarray", "mask": "ndarray", "tags": "list"}
    assert sample_fields(Image)[1].dtype == "uint8"


def test_names_of_the_defining_function_are_understood():
    from numpy import ndarray as Array

    Label = int

    @atdata.packable
    class Local:
        label: Label
        array: Array | None

    @dataclass
    class AlsoLocal(atdata.PackableSample):
        label: Label = 1
        array: Array

    assert kinds(Local) == kinds(AlsoLocal) == {"label": "int", "array": "ndarray"}
    sample = AlsoLocal(array=np.arange(3))
    assert AlsoLocal.from_bytes(sample.packed) == sample
    assert Local.__qualname__.endswith("<locals>.Local")


def test_a_field_named_like_a_type_does_not_hide_the_type():
    @atdata.packable
    class Shadow:
        bytes: bytes = b"x"
        int: int = 3

    assert kinds(Shadow) == {"bytes": "bytes", "int": "int"}


def test_keyword_only_fields_work():
    @atdata.packable
    class Keyed:
        a: int = 0
        _: KW_ONLY
        b: int
        c: list[int] = field(default_factory=list)

    assert Keyed.from_bytes(Keyed(b=1).packed) == Keyed(0, b=1)


def test_a_frozen_sample_type_has_a_hash_and_compares():
    @dataclass(frozen=True)
    class Frozen(atdata.PackableSample):
        n: int

    assert Frozen.from_bytes(Frozen(3).packed) == Frozen(3)
    assert len({Frozen(3), Frozen(3)}) == 1


def test_a_name_that_never_comes_is_named():
    @atdata.packable
    class Broken:
        a: int
        b: NeverDefined  # noqa: F821

    with pytest.raises(SchemaError, match="NeverDefined"):
        sample_fields(Broken)


def test_a_name_that_comes_later_in_the_module_is_found():
    assert kinds(UsesLater) == {"n": "int"}


@atdata.packable
class UsesLater:
    n: Later


Later = int
