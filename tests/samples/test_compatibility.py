"""Which changes of a sample type break what the version before has promised."""

import pytest

from atdata_core.samples.compatibility import breaking_changes, may_break, next_major, version_order

INT = {"$type": "local#primitive", "primitive": "int"}
FLOAT = {"$type": "local#primitive", "primitive": "float"}
DICT = {"$type": "local#primitive", "primitive": "str", "holds": "dict"}
TEXT = {"$type": "local#primitive", "primitive": "str"}


def array(dtype=None, shape=None):
    given = {"dtype": dtype, "shape": shape}
    return {"$type": "local#ndarray", **{key: value for key, value in given.items() if value is not None}}


def items(kind=None, **more):
    return {"$type": "local#array", **({} if kind is None else {"items": {**kind, **more}})}


def schema(*optional, **fields):
    described = [{"name": name, "fieldType": kind, "optional": name in optional} for name, kind in fields.items()]
    return {"name": "Point", "version": "1.0.0", "fields": described}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (schema(a=INT, b=INT), schema(a=INT), "b was removed"),
        (schema(a=INT), schema(a=FLOAT), "a was int and is float"),
        (schema(a=TEXT), schema(a=DICT), "a was str and is dict"),
        (schema(a=INT), schema(a=array()), "a was int and is ndarray"),
        (schema("a", a=INT), schema(a=INT), "a was optional and is required"),
        (schema(a=INT), schema(a=INT, b=INT), "b is new and required"),
        (schema(a=array("uint8")), schema(a=array("float32")), "a had the dtype uint8 and has float32"),
        (schema(a=array()), schema(a=array("uint8")), "a had the dtype any and has uint8"),
        (schema(a=array(shape=[3, 4])), schema(a=array(shape=[3, 5])), "a had the shape 3×4 and has 3×5"),
        (schema(a=array(shape=[3, 4])), schema(a=array(shape=[3])), "a had the shape 3×4 and has 3"),
        (schema(a=array(shape=[None, 4])), schema(a=array(shape=[3, 4])), "a had the shape any×4 and has 3×4"),
        (schema(a=array()), schema(a=array(shape=[])), "a had the shape any and has scalar"),
        (schema(a=items(INT)), schema(a=items(TEXT)), "a[] was int and is str"),
        (schema(a=items()), schema(a=items(TEXT)), "a held items of any type and is bound to one"),
        (schema(a=items(INT, nullable=True)), schema(a=items(INT)), "a[] could be null and cannot any more"),
        (schema(a=items(items(INT))), schema(a=items(items(FLOAT))), "a[][] was int and is float"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_takes_something_away_breaks_and_is_named(old, new, said):
    assert breaking_changes(old, new) == [said]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (schema(a=INT, b=TEXT), schema(b=TEXT, a=INT)),
        (schema(a=INT), schema("b", a=INT, b=TEXT)),
        (schema(a=INT), schema("a", a=INT)),
        (schema(a=array("uint8", [3, 4])), schema(a=array("uint8", [None, 4]))),
        (schema(a=array("uint8", [3, 4])), schema(a=array("uint8"))),
        (schema(a=array("uint8")), schema(a=array())),
        (schema(a=items(INT)), schema(a=items(INT, nullable=True))),
        (schema(a=items(INT)), schema(a=items())),
    ],
)
def test_what_adds_or_widens_does_not_break(old, new):
    assert breaking_changes(old, new) == []


def test_versions_sort_as_semver_says():
    # The example of https://semver.org/#spec-item-11, with others around it.
    pre = ["alpha", "alpha.1", "alpha.beta", "beta", "beta.2", "beta.11", "rc.1"]
    ordered = ["0.9.9", *(f"1.0.0-{part}" for part in pre), "1.0.0", "1.2.0", "1.10.0", "2.0.0"]
    assert sorted(sorted(ordered), key=version_order) == ordered
    assert version_order("1.0.0+a") == version_order("1.0.0+b-c")
    assert version_order("1.0") is None


@pytest.mark.parametrize(
    ("old", "new", "may"),
    [("1.0.0", "2.0.0", True), ("1.0.0", "1.9.0", False), ("0.1.0", "0.1.1", True), ("0.9.0", "1.0.0", True)],
)
def test_another_major_version_may_break_and_version_0_promises_nothing(old, new, may):
    assert may_break(old, new) is may
    assert next_major("1.4.2") == "2.0.0"
