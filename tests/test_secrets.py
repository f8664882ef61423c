import json
import logging
import pickle
import time

import pytest

from atdata_core.errors import AtdataError, MetadataError, StorageError
from atdata_core.samples.metadata import refuse_secrets
from atdata_core.secrets import holds_secret, keep_secret, masked, masked_data

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJkaWQ6cGxjOmFiYyJ9.c2lnbmF0dXJlLWZyb20taGVyZQ"
SIGNED = "https://host/b/k.tar?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20260101&X-Amz-Signature=0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (f"the token {JWT} has ended", JWT),
        (f'{{"accessJwt":"{JWT}"}}', JWT),
        ("Authorization: Bearer abcdefgh12345678ijkl", "abcdefgh12345678ijkl"),
        ("authorization: Basic dXNlcjpodW50ZXIy", "dXNlcjpodW50ZXIy"),
        (f"GET {SIGNED} failed", "0123456789abcdef"),
        (f"GET {SIGNED} failed", "AKIAIOSFODNN7EXAMPLE"),
        ("/b/k?x=1&X-Amz-Signature=0123456789abcdef", "0123456789abcdef"),
        ("AWS4-HMAC-SHA256 Credential=minioadmin/2026/s3, Signature=0123456789abcdef", "0123456789abcdef"),
        ("<SignatureProvided>c2lnbmVk</SignatureProvided>", "c2lnbmVk"),
        ("<StringToSign>AWS4\n2026\n</StringToSign>", "AWS4"),
        ("cannot reach redis://:hunter2@host:6379/0.", "hunter2"),
        ("https://ghp_abc@example.org/x", "ghp_abc"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END", "MIIE"),
    ],
)
def test_a_secret_is_known_by_its_shape(text, hidden):
    assert hidden not in masked(text)
    assert "***" in masked(text)
    assert holds_secret(text)
    assert masked(masked(text)) == masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A basic understanding of signatures, tokens and passwords; the key is 42.",
        "Bearer of bad news, authorization: none, credential=short",
        "0000-0002-1825-0097 and 550e8400-e29b-41d4-a716-446655440000",
        "https://example.org/search?author=smith&design=3&tokenizer=bpe&signal=1#top",
        "ssh://git@github.com/org/repo.git, mail@example.org, https://example.org/@user",
        "at://did:plc:abc/ac.foundation.dataset.record/3l",
        "bafyreieyJhbGciOiJIUzI1NiJ9 eyJhbGciOiJIUzI1NiJ9",
    ],
)
def test_ordinary_text_stays_as_it_is(text):
    assert masked(text) == text
    assert not holds_secret(text)


@pytest.mark.parametrize("secret", ["p@ss/w0rd+&%=", "tab\there", 'quo"te\\d', "ümlaut-secret", "ab-cd-ef"])
def test_a_value_that_is_kept_secret_is_masked_however_it_is_written(secret):
    from urllib.parse import quote

    keep_secret(secret)
    for written in (secret, quote(secret, safe=""), json.dumps(secret)):
        assert masked(f"<{written}>") in ("<***>", '<"***">')


def test_the_secrets_of_the_environment_are_masked(monkeypatch):
    values = {
        "ATDATA_APP_PASSWORD": "abcd-efgh-ijkl-mnop",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG",
        "AWS_SESSION_TOKEN": "FwoGZXIvYXdzEJr",
        "ATDATA_PUBLISH_SECRET_ACCESS_KEY": "another-secret-key",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ATDATA_REDIS_URL", "redis://user:red%40is-pass@host:1/0")
    text = masked(f"{' '.join(values.values())} red%40is-pass red@is-pass")
    assert text == " ".join(["***"] * 6)


def test_a_short_secret_is_masked_as_a_word_only_and_never_in_data():
    keep_secret("abcd")
    assert masked("abcd in abcde, s3://abcd/x") == "*** in abcde, s3://***/x"
    assert masked("s3://abcd/x", sure=True) == "s3://abcd/x"
    assert not holds_secret("abcd")


def test_what_everybody_knows_and_nothing_at_all_are_no_secrets():
    for value in ("password", "or", "", None):
        keep_secret(value)
    assert masked("Wrong handle or app password.") == "Wrong handle or app password."


def test_an_error_holds_no_secret_nor_does_what_is_pickled_of_it():
    keep_secret("abcd-efgh-ijkl-mnop")
    error = AtdataError("refused abcd-efgh-ijkl-mnop", urls=[SIGNED], said=JWT, place={"at": (SIGNED, 3)}, count=7)
    everything = f"{error} {error!r} {error.args} {error.facts} {pickle.dumps(error)!r}"
    for secret in ("abcd-efgh-ijkl-mnop", "0123456789abcdef", JWT):
        assert secret not in everything
    assert error.count == 7
    assert pickle.loads(pickle.dumps(error)).facts == error.facts


def test_data_is_masked_in_depth_and_keeps_its_kinds():
    found = masked_data({"a": [JWT, 1, None], "b": (SIGNED,), "c": b"raw", "d": {"e": "x"}})
    assert found["a"] == ["***", 1, None]
    assert isinstance(found["b"], tuple)
    assert "0123456789abcdef" not in found["b"][0]
    assert (found["c"], found["d"]) == (b"raw", {"e": "x"})


def test_what_is_logged_holds_no_secret(caplog):
    keep_secret("abcd-efgh-ijkl-mnop")
    log = logging.getLogger("atdata_core")
    try:
        raise StorageError("x") from ValueError(JWT)
    except StorageError:
        log.warning("waits for %s, %s", "abcd-efgh-ijkl-mnop", SIGNED, exc_info=True)
    logging.getLogger("httpx").warning("HTTP Request: GET %s", SIGNED)
    for secret in ("abcd-efgh-ijkl-mnop", "0123456789abcdef", JWT):
        assert secret not in caplog.text
    assert "ValueError" in caplog.text
    assert "HTTP Request" in caplog.text


@pytest.mark.parametrize(
    ("metadata", "path"),
    [
        ({"source": SIGNED}, "metadata['source']"),
        ({"runs": [{"token": JWT}]}, "metadata['runs'][0]['token']"),
        ({"raw": JWT.encode()}, "metadata['raw']"),
        ({JWT: 1}, "the key number 0"),
        ({"a": {1: ["x", SIGNED]}}, "metadata['a']['1'][1]"),
    ],
)
def test_what_would_publish_a_secret_is_refused_by_its_place(metadata, path):
    with pytest.raises(MetadataError) as caught:
        refuse_secrets({"metadata": metadata})
    assert path in caught.value.message
    assert "0123456789abcdef" not in caught.value.message
    assert JWT not in caught.value.message


def test_plain_metadata_are_not_refused():
    refuse_secrets({"metadata": {"a": ["https://example.org/?author=x", b"\x00\xff", 1.5, None, {2: "x"}]}})


def test_a_long_hostile_text_is_masked_in_time_that_grows_with_it():
    parts = (
        "a",
        "eyJ",
        "eyJaaaaa.",
        "bearer ",
        "://",
        "a://",
        "@",
        "<Token",
        "-----BEGIN PRIVATE KEY-----",
        "sig=",
    )
    # Anything quadratic would take minutes here.
    for part in parts:
        for text in (part * (100_000 // len(part)), "eyJ" + part * (100_000 // len(part))):
            assert len(masked(text)) <= len(text) + 100


def test_many_thousand_words_are_looked_through_at_once():
    words = [f"w{number}" for number in range(100_000)]
    start = time.process_time()
    refuse_secrets({"tags": words})
    # One by one it would be some ten seconds.
    assert time.process_time() - start < 2
    with pytest.raises(MetadataError, match=r"tags\[2\]"):
        refuse_secrets({"tags": ["a", b"b", "AKIAIOSFODNN7EXAMPLE"]})
