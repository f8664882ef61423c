from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest
from numpy.typing import NDArray

from atdata_core import packable
from atdata_core.common.cid import dag_cbor
from atdata_core.errors import SchemaError
from atdata_core.samples.compatibility import compare
from atdata_core.samples.json_schema import from_json_schema, to_json_schema
from atdata_core.samples.schema import (
    SchemaRef,
    decode,
    describe,
    from_field_list,
    parse_schema_ref,
    schema_of,
    schema_ref,
)


@packable
class Everything:
    """One field of each kind, optional ones in between."""

    opt_first: Optional[int]  # noqa: UP045
    s: str
    i: int
    f: float
    b: bool
    raw: bytes
    d: dict[str, int]
    bare_dict: dict
    arr: NDArray
    a_long_name: NDArray[np.float64]
    plain: np.ndarray
    names: list[str]
    rows: list[list[float]]
    arrays: list[NDArray[np.int8]]
    holes: list[int | None]
    anything: list
    opt_s: str | None
    opt_arr: NDArray[np.uint8] | None


def as_a_pds_returns_it(content: dict[str, Any]) -> dict[str, Any]:
    """Keys of every object in DAG-CBOR order: the shorter first."""

    def sorted_keys(value: Any) -> Any:
        if isinstance(value, dict):
            keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
            return {key: sorted_keys(value[key]) for key in keys}
        return [sorted_keys(each) for each in value] if isinstance(value, list) else value

    return sorted_keys(json.loads(json.dumps(content)))


def fields_of(**field_types: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "X",
        "version": "1.0.0",
        "fields": [{"name": name, "fieldType": kind, "optional": False} for name, kind in field_types.items()],
    }


PRIMITIVE = {"$type": "local#primitive", "primitive": "int"}


def test_every_kind_of_field_is_described():
    record = schema_of(Everything, version="1.0.0-rc.1+b")
    described = {field["name"]: (field["fieldType"], field["optional"]) for field in record["fields"]}

    assert list(described) == list(Everything.__annotations__)
    assert described["s"] == ({"$type": "local#primitive", "primitive": "str"}, False)
    assert described["arr"] == described["plain"] == ({"$type": "local#ndarray"}, False)
    assert described["opt_arr"] == ({"$type": "local#ndarray", "dtype": "uint8"}, True)
    assert described["rows"][0]["items"]["items"] == {"$type": "local#primitive", "primitive": "float"}
    assert described["anything"] == ({"$type": "local#array"}, False)
    assert record["module"] == Everything.__module__
    assert record["description"] == "One field of each kind, optional ones in between."


def test_a_rebuilt_type_has_the_same_schema_and_is_the_same_each_time():
    record = schema_of(Everything)
    rebuilt = decode(record)

    assert schema_of(rebuilt)["fields"] == record["fields"]
    assert schema_ref(schema_of(rebuilt)) == schema_ref(schema_of(Everything))
    assert decode(schema_of(Everything)) is rebuilt


def test_a_schema_survives_json_schema_and_the_key_order_of_a_pds():
    record = schema_of(Everything)
    content = as_a_pds_returns_it(to_json_schema(record))

    back = from_json_schema(content, name=record["name"], version=record["version"])

    assert back["fields"] == record["fields"]
    assert compare(back, record) == []
    assert decode(back).__annotations__ == decode(record).__annotations__


def test_the_json_schema_can_be_a_record():
    content = to_json_schema(schema_of(Everything))
    assert dag_cbor(content)
    assert content["properties"]["arr"] == {
        "$ref": "https://json-schema.alt.science/atdata-ndarray-bytes/1.0.0#/$defs/ndarray"
    }
    assert content["properties"]["a_long_name"]["dtype"] == "float64"
    assert content["properties"]["raw"] == {"type": "string", "format": "byte", "contentEncoding": "base64"}
    assert "opt_s" not in content["required"]


@pytest.mark.parametrize("version", ["atdata-0.2.2b1", "atdata-0.7.0b1"])
def test_the_records_of_earlier_versions_are_read(golden: Path, version: str):
    captures = json.loads((golden / version / "atproto_records.json").read_text())["captures"]
    record = captures[0]["requests"][0]["body"]["record"]
    if "fields" in record:
        read = from_field_list(record["fields"], name=record["name"], version=record["version"])
    else:
        read = from_json_schema(
            as_a_pds_returns_it(record["schema"]), name=record["name"], version=record["version"]
        )

    kinds = {field["name"]: field["fieldType"].get("primitive") for field in read["fields"]}
    assert [field["name"] for field in read["fields"] if not field["optional"]] == [
        "s", "i", "f", "b", "raw", "arr", "arr32", "names", "nums", "rows",
    ]  # fmt: skip
    assert {field["name"] for field in read["fields"] if field["optional"]} == {"opt_s", "opt_arr"}
    assert [kinds[name] for name in ("s", "i", "f", "b", "raw")] == ["str", "int", "float", "bool", "bytes"]
    sample: Any = decode(read).from_bytes(
        decode(read)(
            s="", i=1, f=0.5, b=True, raw=b"", arr=np.zeros(1), arr32=np.zeros(1, np.float32), names=["a"],
            nums=[1], rows=[[0.5]], opt_s=None, opt_arr=None,
        ).packed
    )  # fmt: skip
    assert sample.rows == [[0.5]]


def test_both_versions_of_the_array_shim_and_their_annotations_are_read():
    shim = "https://json-schema.alt.science/atdata-ndarray-bytes/{}#/$defs/ndarray"
    for ref in (shim.format("1.0.0"), shim.format("1.1.0"), "https://h/NDArray"):
        content = {
            "properties": {"x": {"$ref": ref, "dtype": "int16", "shape": [2, None], "dimensionNames": ["a", "b"]}},
            "required": ["x"],
        }
        (field,) = from_json_schema(content, name="X", version="1.0.0")["fields"]
        assert field["fieldType"] == {
            "$type": "local#ndarray",
            "dtype": "int16",
            "shape": [2, None],
            "dimensionNames": ["a", "b"],
        }


@pytest.mark.parametrize(
    ("kind", "shim"),
    [
        ("sparse", "sparse-bytes"),
        ("structured", "structured-bytes"),
        ("arrow_tensor", "arrow-tensor"),
        ("safetensors", "safetensors"),
        ("dataframe", "dataframe"),
    ],
)
def test_upstreams_binary_kinds_are_kept(kind: str, shim: str):
    record = fields_of(x={"$type": f"local#{kind}"})
    content = to_json_schema(record)
    assert content["properties"]["x"]["$ref"].startswith(f"https://json-schema.alt.science/atdata-{shim}/")
    assert from_json_schema(content, name="X", version="1.0.0")["fields"] == record["fields"]
    assert decode(record).__name__ == "X"


def test_null_as_one_of_the_types_means_optional():
    content = {
        "properties": {"x": {"type": ["integer", "null"]}, "y": {"anyOf": [{"type": "string"}]}},
        "required": ["x", "y"],
    }
    read = from_json_schema(content, name="X", version="1.0.0")
    assert [field["optional"] for field in read["fields"]] == [True, False]
    assert [field["fieldType"]["primitive"] for field in read["fields"]] == ["int", "str"]


@pytest.mark.parametrize(
    "described",
    [
        {},
        {"type": "mystery"},
        {"$ref": "https://h/other"},
        {"anyOf": [{"type": "string"}, {"type": "object"}]},
        {"anyOf": [{"type": "string"}, {"type": "array"}]},
        {"enum": [1.5]},
        7,
        None,
    ],
)
def test_a_property_that_says_nothing_known_can_be_read_but_not_rebuilt(described: Any):
    read = from_json_schema({"properties": {"x": described}, "required": ["x"]}, name="X", version="1.0.0")
    with pytest.raises(SchemaError, match=r"X\.x is of kind"):
        decode(read)


@pytest.mark.parametrize(
    "name",
    [
        "__class__",
        "__init__",
        "class",
        "None",
        "a b",
        "a-b",
        "1a",
        "",
        "x: int = print()",
        "ﬁ",
        "a.b",
        "x\n",
        "\ud800",
        None,
        7,
    ],
)
def test_a_hostile_field_name_is_refused_and_nothing_is_run(name: Any, capsys: pytest.CaptureFixture[str]):
    record = fields_of(x=PRIMITIVE)
    record["fields"][0]["name"] = name
    with pytest.raises(SchemaError, match="cannot be the name of a field"):
        decode(record)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["packed", "as_wds", "from_bytes", "from_data"])
def test_a_field_cannot_have_the_name_of_a_method(name: str):
    with pytest.raises(SchemaError, match="cannot be the name of a field"):
        decode(fields_of(**{name: PRIMITIVE}))


@pytest.mark.parametrize("name", ["__class__", "lambda", "X[int]", "os.system", "X; import os", "", None])
def test_a_hostile_class_name_is_refused(name: Any):
    with pytest.raises(SchemaError, match="cannot be the name of a class"):
        decode({**fields_of(x=PRIMITIVE), "name": name})


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "int",
        {},
        {"$type": "local#primitive"},
        {"$type": "local#primitive", "primitive": "object"},
        {"$type": "local#ref", "ref": "at://x"},
        {"$type": "local#ndarray", "dtype": "nonsense"},
        {"$type": "local#ndarray", "dtype": "f4,(2,)f4"},
        {"$type": "local#ndarray", "dtype": ["f4"]},
        {"$type": "local#array", "items": {"$type": "local#mystery"}},
    ],
)
def test_a_kind_from_which_no_type_can_be_made_is_refused(kind: Any):
    with pytest.raises(SchemaError, match=r"X\.x"):
        decode(fields_of(x=kind))


def test_a_schema_without_fields_with_a_field_twice_or_without_end_is_refused():
    twice = fields_of(x=PRIMITIVE)
    twice["fields"] *= 2
    deep: dict[str, Any] = PRIMITIVE
    for _ in range(3000):
        deep = {"$type": "local#array", "items": deep}
    for record in (fields_of(), twice, {"name": "X", "fields": None}, fields_of(x=deep)):
        with pytest.raises(SchemaError):
            decode(record)
    nested: dict[str, Any] = {"type": "string"}
    for _ in range(3000):
        nested = {"type": "array", "items": nested}
    with pytest.raises(SchemaError, match="nested too deeply"):
        from_json_schema({"properties": {"x": nested}}, name="X", version="1.0.0")


def test_a_module_is_a_label_and_is_never_imported():
    made = decode({**fields_of(x=PRIMITIVE), "module": "no.such_module"})
    assert made.__module__ == "no.such_module"
    with pytest.raises(SchemaError):
        decode({**fields_of(x=PRIMITIVE), "module": "os; import sys"})


def test_comparison_names_the_fields_and_ignores_their_order():
    a = {**fields_of(x=PRIMITIVE, y=PRIMITIVE, gone=PRIMITIVE), "module": "m"}
    b = {**fields_of(y=PRIMITIVE, x={"$type": "local#primitive", "primitive": "str"}, new=PRIMITIVE), "module": "m"}
    assert compare(a, a) == []
    assert compare(a, {**a, "fields": a["fields"][::-1]}) == []
    assert compare(a, b) == ["gone", "new", "x"]
    optional = {**a, "fields": [{**a["fields"][0], "optional": True}, *a["fields"][1:]]}
    assert compare(a, optional) == ["x"]


def test_what_another_program_left_out_is_no_difference_but_what_it_says_is():
    def array(**more: str) -> dict[str, Any]:
        return fields_of(x={"$type": "local#ndarray", **more})

    ours = {**array(dtype="float64"), "module": "m"}
    assert compare(ours, array()) == []
    assert compare({**array(), "module": "m"}, array(dtype="float32")) == []
    assert compare(ours, array(dtype="float32")) == ["x"]
    assert compare(ours, {**array(), "module": "m"}) == ["x"]
    bare = {**fields_of(x={"$type": "local#array"}), "module": "m"}
    assert compare(bare, fields_of(x={"$type": "local#array", "items": {**PRIMITIVE, "primitive": "str"}})) == []
    assert compare(bare, fields_of(x={"$type": "local#array", "items": PRIMITIVE})) == ["x"]


def test_a_class_of_main_works_with_a_warning():
    made = packable(type("Lonely", (), {"__annotations__": {"x": int}, "__module__": "__main__"}))
    with pytest.warns(UserWarning, match=r"__main__\.Lonely") as warned:
        record = schema_of(made)
    assert warned[0].filename == __file__
    assert record["module"] == "__main__"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(record).__module__ == "__main__"
        assert schema_ref(describe(made)) == "local://schemas/__main__.Lonely@1.0.0"


@pytest.mark.parametrize("version", ["1", "1.0", "v1.0.0", "1.0.0 ", "01.0.0", "1.0.0\n", "", "1.0.0-" + "a" * 100])
def test_a_version_that_is_no_semantic_one_is_refused(version: str):
    with pytest.raises(SchemaError, match="semantic version"):
        schema_of(Everything, version=version)


def test_a_class_without_fields_is_refused():
    empty = packable(type("Empty", (), {"__annotations__": {}, "__module__": "m"}))
    with pytest.raises(SchemaError, match="no fields"):
        schema_of(empty)


def test_a_dataclass_signature_is_no_description():
    undescribed = packable(type("Plain", (), {"__annotations__": {"x": int}, "__module__": "m"}))
    assert schema_of(undescribed)["description"] is None
    assert schema_of(undescribed, description="x")["description"] == "x"


def test_references_are_parsed_in_all_their_forms():
    assert parse_schema_ref("local://schemas/a.b.C@1.0.0") == SchemaRef("a.b", "C", "1.0.0")
    assert parse_schema_ref("local://schemas/C@1.0.0") == SchemaRef(None, "C", "1.0.0")
    assert parse_schema_ref("atdata://local/schema/C@2.0.0-a") == SchemaRef(None, "C", "2.0.0-a")
    assert parse_schema_ref("atdata://local/sampleSchema/C@1.0.0") == SchemaRef(None, "C", "1.0.0")


def test_upstream_rebuilds_a_type_from_our_json_schema():
    python = os.environ.get("ATDATA_UPSTREAM_PYTHON")
    if not python:
        pytest.skip("ATDATA_UPSTREAM_PYTHON names no interpreter with atdata 0.7.0b1")

    @packable
    class Readable:
        s: str
        arr: NDArray[np.float64]
        d: dict
        holes: list[int | None]
        rows: list[list[float]]
        opt_arr: NDArray | None

    sample: Any = Readable(s="x", arr=np.eye(2), d={"k": 1}, holes=[1, None], rows=[[0.5]], opt_arr=None)
    record = {
        "name": "Readable",
        "version": "1.0.0",
        "schemaType": "jsonSchema",
        "schema": {"$type": "science.alt.dataset.schema#jsonSchemaFormat", **to_json_schema(schema_of(Readable))},
    }
    program = (
        "import json, sys\nfrom atdata._schema_codec import _schema_to_type\n"
        "made = _schema_to_type(json.loads(sys.argv[1]))\n"
        "read = made.from_bytes(bytes.fromhex(sys.argv[2]))\n"
        "print(read.arr.tolist(), read.arr.dtype, read.d, read.holes, read.rows, read.opt_arr)"
    )
    ran = subprocess.run(
        [python, "-c", program, json.dumps(record), sample.packed.hex()],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert ran.stdout.strip() == "[[1.0, 0.0], [0.0, 1.0]] float64 {'k': 1} [1, None] [[0.5]] None"


def test_a_rebuilt_type_pickles_by_its_schema_and_imports_nothing():
    record = {
        "name": "Elsewhere",
        "module": "antigravity.nowhere",
        "version": "1.0.0",
        "fields": [
            {"name": "schema", "fieldType": {"$type": "local#primitive", "primitive": "int"}, "optional": False}
        ],
    }
    rebuilt = decode(record)
    sample = rebuilt(schema=3)
    assert pickle.loads(pickle.dumps(rebuilt)) is rebuilt
    assert pickle.loads(pickle.dumps(sample)) == sample
    assert "antigravity" not in sys.modules


def test_a_type_rebuilt_without_a_module_is_described_without_one():
    record = {**schema_of(Everything), "module": None}
    rebuilt = decode(record)
    assert schema_of(rebuilt)["module"] is None
    assert schema_ref(schema_of(rebuilt)) == "local://schemas/Everything@1.0.0"
    assert decode(schema_of(rebuilt)) is rebuilt
    assert schema_of(type("Mine", (rebuilt,), {"__module__": "m"}))["module"] == "m"


@packable
class Documented:
    """A sample that says what it is.

    In more than one line, too.
    """

    label: int


def test_the_docstring_of_a_class_travels_as_description_and_comes_back_with_the_rebuilt_type() -> None:
    local = schema_of(Documented)
    assert local["description"] == "A sample that says what it is.\n\nIn more than one line, too."
    rebuilt = decode(local)
    assert rebuilt.__doc__ == local["description"]
    assert pickle.loads(pickle.dumps(rebuilt)) is rebuilt
    again = schema_of(rebuilt)
    assert again["description"] == local["description"]
    assert schema_of(decode({**local, "description": None}))["description"] is None
