import base64
import contextlib
import math

import msgpack
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from atdata_core.atmosphere.record_format.record_metadata import pack_metadata, to_field, unpack_metadata
from atdata_core.errors import MetadataError

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
    | st.binary(max_size=40)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(scalars, inner, max_size=20),
    max_leaves=10,
)
few = settings(suppress_health_check=[HealthCheck.too_slow])
sized_keys = st.text(min_size=1, max_size=40) | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=300)


@few
@given(st.dictionaries(scalars, values, max_size=20))
@example({})
@example({n / 7: None for n in range(17)})
def test_metadata_comes_back_as_it_was(metadata):
    assert unpack_metadata(to_field(metadata)) == metadata


@few
@given(
    st.dictionaries(sized_keys, values, max_size=20)
    | st.integers(0, 300).map(lambda count: {f"key {n}": "x" * (n % 40) for n in range(count)})
)
def test_a_record_holds_metadata_that_needs_no_padding(metadata):
    packed = pack_metadata(metadata)
    assert len(packed) % 3 == 0
    assert msgpack.unpackb(packed, strict_map_key=False) == metadata
    # What atdata 0.7 does with what a PDS gives back.
    assert base64.b64decode(to_field(metadata)["$bytes"], validate=True) == packed


def test_metadata_keeps_the_order_and_kinds_of_its_keys():
    metadata = {"z": 1, 2: "two", b"b": [1.5, -0.0, 2**60], None: {"nested": {True: b"\xff"}}}
    found = unpack_metadata(to_field(metadata))
    assert list(found.items()) == list(metadata.items())
    assert math.copysign(1, found[b"b"][1]) == -1


@pytest.mark.parametrize("size", [1000, 99_996, 99_997, 99_998, 100_000, 100_001])
def test_metadata_is_refused_when_it_takes_more_than_100000_bytes_in_the_record(size):
    metadata = {"x": b"\0" * (size - 8)}  # 8 bytes of headers
    assert len(msgpack.packb(metadata)) == size or size == 1000
    if size < 99_998:
        assert len(pack_metadata(metadata)) <= 100_000
    else:
        with pytest.raises(MetadataError, match="100,000"):
            pack_metadata(metadata)


def test_the_plain_object_of_other_programs_is_read_flat():
    field = {"version": "9", "sourceUri": "https://x", "custom": {"k": "v", "version": "hidden"}}
    assert unpack_metadata(field) == {"version": "9", "source_uri": "https://x", "k": "v"}
    assert unpack_metadata({"custom": 3}) == {"custom": 3}
    assert unpack_metadata(None) is None


@pytest.mark.parametrize(
    "field", [3, "text", [], {"$bytes": "%%%"}, {"$bytes": 3}, {"$bytes": "wQ"}, {"$bytes": "AQ"}]
)
def test_metadata_of_another_form_is_refused_clearly(field):
    with pytest.raises(MetadataError, match="metadata"):
        unpack_metadata(field)


@given(st.binary(max_size=60))
def test_bytes_of_any_kind_are_metadata_or_refused(packed):
    field = {"$bytes": base64.b64encode(packed).decode()}
    with contextlib.suppress(MetadataError):
        assert isinstance(unpack_metadata(field), dict)
