"""What S3 services and buckets ask for, and how they turn requests away, as rules for an ``Edge``."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

from faulty.edge import Rule
from faulty.messages import Answer, Call


def refusal(status: int, code: str, message: str = "", **more: str) -> Answer:
    """An answer as S3 gives it; one to a HEAD is sent without its body."""
    inside = "".join(
        f"<{name}>{text}</{name}>" for name, text in {"Code": code, "Message": message, **more}.items()
    )
    return Answer(status, {"content-type": "application/xml"}, f"<Error>{inside}</Error>".encode())


class OfS3(Rule):
    """Looks at the requests to some services only; ``turned_away`` counts those that it answered itself."""

    def __init__(self, *services: str) -> None:
        self.services = services or ("s3",)
        self.turned_away = 0

    def asked(self, call: Call) -> Answer | None:
        """Turn a request away, or let it pass."""
        answer = self.refused(call) if call.service in self.services else None
        self.turned_away += answer is not None
        return answer

    def refused(self, call: Call) -> Answer | None:
        """The answer of a service that turns a request away."""
        raise NotImplementedError


class Always(OfS3):
    """Gives every signed request the same refusal; ``headers`` go along."""

    def __init__(self, answer: Answer, *services: str, **headers: str) -> None:
        super().__init__(*services)
        given = {name.replace("_", "-"): text for name, text in headers.items()}
        self.answer = Answer(answer.status, {**answer.headers, **given}, answer.body)

    def refused(self, call: Call) -> Answer | None:
        """Refuse what is signed; say nothing to anybody else."""
        return self.answer if "authorization" in call.headers else refusal(403, "AccessDenied")


class ObjectLock(OfS3):
    """A bucket with Object Lock: what is written has a digest with it."""

    def refused(self, call: Call) -> Answer | None:
        """Refuse bytes without a digest."""
        proven = any(name == "content-md5" or name.startswith("x-amz-checksum-") for name in call.headers)
        if call.method != "PUT" or proven or "x-amz-copy-source" in call.headers or not call.body:
            return None
        said = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put requests with Object Lock parameters"
        return refusal(400, "InvalidRequest", said)


class InRegion(OfS3):
    """A service that takes signatures for its own region only, and says which that is."""

    def __init__(self, region: str, *services: str, status: int = 400) -> None:
        super().__init__(*services)
        self.region, self.status = region, status

    def refused(self, call: Call) -> Answer | None:
        """Refuse a signature for another region."""
        if f"/{self.region}/s3/" in call.headers.get("authorization", f"/{self.region}/s3/"):
            return None
        code = "PermanentRedirect" if self.status == 301 else "AuthorizationHeaderMalformed"
        said = refusal(self.status, code, f"expecting '{self.region}'", Region=self.region)
        return Answer(said.status, {**said.headers, "x-amz-bucket-region": self.region}, said.body)


class RequesterPays(OfS3):
    """A bucket whose readers pay."""

    def refused(self, call: Call) -> Answer | None:
        """Refuse whoever does not say that he pays."""
        pays = (
            call.headers.get("x-amz-request-payer") == "requester" or "x-amz-request-payer=requester" in call.path
        )
        return None if pays else refusal(403, "AccessDenied", "Access Denied")


class VirtualHosted(OfS3):
    """A service that takes the bucket in the host's name only, before one that knows paths.

    Args:
        upstream: URL of the latter, which must not look at signatures: they cover the path.
    """

    def __init__(self, upstream: str) -> None:
        super().__init__()
        self._upstream = urlsplit(upstream).netloc
        self.hosts: set[str] = set()

    def refused(self, call: Call) -> Answer | None:
        """Forward a request whose host begins with a bucket; refuse the others."""
        host = call.headers["host"].partition(":")[0]
        self.hosts.add(host)
        bucket, _, rest = host.partition(".")
        if rest != "s3.test":
            return refusal(403, "SecondLevelDomainForbidden", "Please use virtual hosted style to access.")
        connection = http.client.HTTPConnection(self._upstream)
        headers = {name: text for name, text in call.headers.items() if name not in ("host", "expect")}
        connection.request(call.method, f"/{bucket}{call.path}", call.body or None, headers)
        answer = connection.getresponse()
        found = {name.lower(): text for name, text in answer.getheaders()}
        body = answer.read()
        connection.close()
        return Answer(answer.status, found, body)
