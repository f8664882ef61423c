"""An object sent in parts: what of it is digested, and how often."""

import base64
import hashlib

import pytest
from botocore import auth
from botocore.awsrequest import AWSResponse

from atdata_core.stores.s3.multipart import Multipart
from atdata_core.stores.s3.objects import S3Endpoint

DATA = bytes(range(256)) * 4096


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
