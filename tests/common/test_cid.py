from __future__ import annotations

import base64
from typing import Any

import libipld
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atdata_core.common.cid import dag_cbor, entry_cid, record_cid

LINK = "bafyreid2o27gtj6tcd3nfymbmmqbi5jldqgosyzr6dcdfov35guaeo2xwm"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text().filter(lambda key: not key.startswith("$")), inner),
    max_leaves=20,
)


@given(JSON)
def test_the_encoding_is_that_of_dag_cbor(value: Any):
    assert dag_cbor(value) == libipld.encode_dag_cbor(value)


@given(st.binary())
def test_bytes_are_bytes_even_where_they_look_like_a_cid(data: bytes):
    for raw in (data, b"\x01\x71\x00\x00" + data, b"\x12\x20" + bytes(32)):
        plain = libipld.decode_dag_cbor(dag_cbor({"b": raw}))
        assert plain == {"b": raw}
        for text in (base64.b64encode(raw).decode(), base64.b64encode(raw).decode().rstrip("=")):
            assert dag_cbor({"b": {"$bytes": text}}) == dag_cbor({"b": raw})
        assert dag_cbor({"b": raw})[3] >> 5 == 2


def test_a_link_is_a_tagged_cid():
    raw = libipld.decode_multibase(LINK)[1]
    assert dag_cbor({"ref": {"$link": LINK}}) == libipld.encode_dag_cbor({"ref": raw})


def test_the_keys_of_json_may_come_in_any_order():
    assert record_cid({"bb": 1, "a": 2}) == record_cid({"a": 2, "bb": 1})


def test_the_cid_is_of_schema_and_data_alone():
    cid = entry_cid(
        "atdata://local/sampleSchema/Everything@1.2.3", ["s3://bucket/golden/data-{000000..000003}.tar"]
    )
    assert cid == LINK
    assert entry_cid("x", ["a", "b"]) != entry_cid("x", ["b", "a"])
    assert libipld.decode_cid(entry_cid("x", []))["codec"] == 0x71


@pytest.mark.parametrize(
    "value",
    [1.5, 2**64, {1: 2}, object(), {"$bytes": "?"}, {"$bytes": 1}, {"$link": "Qm"}, {"$link": 3}],
)
def test_what_the_data_model_does_not_know_is_refused(value: Any):
    with pytest.raises(ValueError, match=r"."):
        dag_cbor(value)
