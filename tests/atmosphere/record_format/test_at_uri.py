import pickle

import pytest

from atdata_core.atmosphere import AtUri
from atdata_core.errors import RefusedError


@pytest.mark.parametrize(
    "text",
    [
        "at://did:plc:abc123/science.alt.dataset.entry/3n2v7vxlskq23",
        "at://did:web:example.org%3A8080/science.alt.dataset.schema/m.C:1.0.0:2brc",
        "at://alice.test/science.alt.dataset.label/self",
    ],
)
def test_an_at_uri_is_taken_apart_and_put_together_again(text):
    uri = AtUri.parse(text)
    assert str(uri) == text
    assert [uri.authority, uri.collection, uri.rkey] == text.removeprefix("at://").split("/")
    assert pickle.loads(pickle.dumps(uri)) == uri


@pytest.mark.parametrize(
    "text",
    [
        "",
        None,
        b"at://did:plc:abc/a.b.c/d",
        "my-dataset",
        "https://example.org/a.b.c/d",
        "at://did:plc:abc",
        "at://did:plc:abc/a.b.c",
        "at://did:plc:abc/a.b.c/d/e",
        "at://alice/a.b.c/d",
        "at://did:plc:/a.b.c/d",
        "at://alice.test/not_a_collection/d",
        "at://alice.test/a.b.c/..",
        "at://alice.test/a.b.c/d e",
        "at://alice.test/a.b.c/d?x=1",
        "at://alice.test/a.b.c/" + "x" * 513,
    ],
)
def test_what_is_no_at_uri_of_a_record_is_a_value_error_that_shows_it(text):
    with pytest.raises(ValueError, match="at-uri") as caught:
        AtUri.parse(text)
    assert isinstance(caught.value, RefusedError)
    assert repr(text) in str(caught.value)
