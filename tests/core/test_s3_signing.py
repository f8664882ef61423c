"""What is digested, and how often, when an object is written."""

import base64
import hashlib

import pytest
from botocore import auth
from botocore.awsrequest import AWSResponse

from atdata_core.stores.s3.multipart import Multipart
from atdata_core.stores.s3.objects import S3Endpoint
from atdata_core.stores.s3.upload import put
from faulty.edge import Edge, Tally

DATA = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(DATA)


@pytest.fixture
def digested(monkeypatch):
    """The sizes of all that is digested for signatures."""
    sizes = []

    class Counted:
        def __init__(self, data=b""):
            self.found = hashlib.sha256()
            self.update(data)

        def update(self, data):
            sizes.append(len(data))
            self.found.update(data)

        def __getattr__(self, name):
            return getattr(self.found, name)

    monkeypatch.setattr(auth, "sha256", Counted)
    return sizes


def write(s3, bucket, sha256):
    endpoint = S3Endpoint.from_credentials(s3)
    return put(endpoint, {"Bucket": bucket, "Key": "a.tar"}, DATA, sha256, {})


def test_bytes_whose_digest_is_given_are_not_digested_again_for_the_signature(s3, bucket, digested):
    with Edge({"s3": s3["AWS_ENDPOINT"]}, Tally()) as edge:
        # The server checks the signature.
        there = {**s3, "AWS_ENDPOINT": edge.urls["s3"]}
        assert write(there, bucket, SHA256.digest()) == hashlib.md5(DATA).hexdigest()
        (call,) = edge.rule.at("s3", "PUT")
    assert call.headers["x-amz-content-sha256"] == SHA256.hexdigest()
    assert call.body == DATA
    assert 0 < sum(digested) < 10_000


def test_without_such_a_digest_the_bytes_themselves_are_signed(s3, bucket, digested):
    client = S3Endpoint.from_credentials(s3).client
    client.put_object(Bucket=bucket, Key="a.tar", Body=DATA)
    assert sum(digested) > len(DATA)


def test_a_signed_address_is_signed_as_ever(s3, bucket):
    client = S3Endpoint.from_credentials(s3).client
    url = client.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "a.tar"})
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in url


def test_a_part_over_tls_is_proven_by_its_md5_and_not_digested_for_the_signature(digested):
    sent = []

    def answer(request, **_):
        sent.append(request)
        begun = b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
        return AWSResponse(request.url, 200, {"ETag": '"x"'}, Answered(begun if request.method == "POST" else b""))

    endpoint = S3Endpoint("https://s3.invalid", "key", "secret", attempts=2)
    for client in (endpoint.client, endpoint.client_of_one_attempt):
        client.meta.events.register("before-send.s3", answer)
    md5 = hashlib.md5(DATA)
    Multipart(endpoint, "bucket", "a.tar").send(DATA, md5.hexdigest())
    headers = sent[-1].headers
    assert headers["Content-MD5"] in (base64.b64encode(md5.digest()), base64.b64encode(md5.digest()).decode())
    assert headers["X-Amz-Content-SHA256"] in (b"UNSIGNED-PAYLOAD", "UNSIGNED-PAYLOAD")
    assert 0 < sum(digested) < 10_000


class Answered:
    """The body of an answer."""

    def __init__(self, data):
        self.data = data

    def stream(self):
        yield self.data
