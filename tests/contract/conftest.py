"""Servers of the contract suites: the reference PDS beside the sandbox's own, and accounts on each."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from atdata_core.atmosphere import AtmosphereClient
from servers import PdsAddress


@pytest.fixture(scope="session", params=["sandbox", "official"])
def server(request: pytest.FixtureRequest) -> PdsAddress:
    """Each PDS in turn."""
    if request.param == "sandbox":
        return request.getfixturevalue("pds")
    return request.getfixturevalue("official_pds")


PROOF = "/xrpc/com.atproto.sync.getRecord"


class Meddling(httpx.HTTPTransport):
    """The network, with somebody in between who may change the proofs that come."""

    def __init__(self) -> None:
        super().__init__()
        self.proof: Callable[[httpx.Request, httpx.Response], httpx.Response] = lambda request, answer: answer
        self.document: Callable[[Any], Any] = lambda document: document

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        answer.read()
        if request.url.path == PROOF:
            return self.proof(request, answer)
        if "did:plc:" in request.url.path:
            return httpx.Response(answer.status_code, json=self.document(answer.json()))
        return answer


@pytest.fixture
def meddling(closing: Callable[[httpx.HTTPTransport], httpx.HTTPTransport]) -> httpx.HTTPTransport:
    """A transport whose ``proof`` and ``document`` a test sets, to change what comes."""
    return closing(Meddling())


@dataclass
class Repo:
    """A new account, and requests in its name. Replies come as they are, errors too."""

    http: httpx.Client
    handle: str
    password: str
    did: str
    access: str = field(repr=False)
    refresh: str = field(repr=False)
    collection: str = "science.example.contract"

    def get(self, method: str, *, token: str | None = None, **parameters: Any) -> httpx.Response:
        """A query, without a token unless one is given."""
        return self.http.get(f"com.atproto.{method}", params=parameters, headers=_bearer(token))

    def post(self, method: str, *, token: str | None = None, **body: Any) -> httpx.Response:
        """A procedure, in the account's name unless another token is given."""
        headers = _bearer(self.access if token is None else token)
        return self.http.post(f"com.atproto.{method}", json=body or None, headers=headers)

    def put(self, rkey: str, record: Any, **more: Any) -> httpx.Response:
        """putRecord."""
        return self.post("repo.putRecord", **self._at(rkey), record=record, **more)

    def create(self, record: Any, **more: Any) -> httpx.Response:
        """createRecord."""
        where = {"repo": self.did, "collection": self.collection}
        return self.post("repo.createRecord", **where, record=record, **more)

    def delete(self, rkey: str, **more: Any) -> httpx.Response:
        """deleteRecord."""
        return self.post("repo.deleteRecord", **self._at(rkey), **more)

    def read(self, rkey: str, **more: Any) -> httpx.Response:
        """getRecord, without a login."""
        return self.get("repo.getRecord", **(self._at(rkey) | more))

    def list(self, **more: Any) -> httpx.Response:
        """listRecords, without a login."""
        return self.get("repo.listRecords", **({"repo": self.did, "collection": self.collection} | more))

    def apply(self, *writes: dict[str, Any], **more: Any) -> httpx.Response:
        """applyWrites."""
        return self.post("repo.applyWrites", repo=self.did, writes=list(writes), **more)

    def write(self, action: str, rkey: str, value: Any = None) -> dict[str, Any]:
        """One write for ``apply``."""
        given = {"$type": f"com.atproto.repo.applyWrites#{action}", "collection": self.collection, "rkey": rkey}
        return given if value is None else given | {"value": value}

    def commit(self) -> dict[str, str]:
        """The last commit."""
        return self.get("sync.getLatestCommit", did=self.did).raise_for_status().json()

    def upload(self, data: bytes, mime: str = "text/x-thing") -> httpx.Response:
        """uploadBlob."""
        headers = _bearer(self.access) | {"content-type": mime}
        return self.http.post("com.atproto.repo.uploadBlob", content=data, headers=headers)

    def blob(self, cid: str) -> httpx.Response:
        """getBlob, without a login."""
        return self.get("sync.getBlob", did=self.did, cid=cid)

    def _at(self, rkey: str) -> dict[str, str]:
        return {"repo": self.did, "collection": self.collection, "rkey": rkey}


def _bearer(token: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}


@pytest.fixture(scope="session")
def http(server: PdsAddress) -> Iterator[httpx.Client]:
    """A client of the server's XRPC routes."""
    with httpx.Client(base_url=f"{server.url}/xrpc/", timeout=30, trust_env=False) as client:
        yield client


def _new_account(http: httpx.Client, server: PdsAddress) -> Repo:
    name, password = f"user-{secrets.token_hex(5)}", secrets.token_urlsafe(12)
    given = {"handle": f"{name}.test", "password": password, "email": f"{name}@example.com", **server.invite}
    made = http.post("com.atproto.server.createAccount", json=given).raise_for_status().json()
    return Repo(http, given["handle"], password, made["did"], made["accessJwt"], made["refreshJwt"])


@pytest.fixture(scope="session")
def _accounts(http: httpx.Client, server: PdsAddress) -> tuple[Repo, Repo]:
    # An account takes the reference PDS a quarter of a second, so that tests share two.
    return _new_account(http, server), _new_account(http, server)


@pytest.fixture
def repo(_accounts: tuple[Repo, Repo]) -> Repo:
    """A repository with a collection that no other test uses."""
    return replace(_accounts[0], collection=f"science.example.contract.c{secrets.token_hex(5)}")


@pytest.fixture
def new_repo(http: httpx.Client, server: PdsAddress) -> Repo:
    """The repository of a new account."""
    return _new_account(http, server)


@pytest.fixture
def other_repo(_accounts: tuple[Repo, Repo]) -> Repo:
    """The repository of another account on the same server."""
    return _accounts[1]


@pytest.fixture
def client(server: PdsAddress, repo: Repo, network: Any, monkeypatch: pytest.MonkeyPatch) -> AtmosphereClient:
    """A client of the account, logged in, over the transport ``network`` of the test file; that begins to count."""
    monkeypatch.setenv("ATDATA_PLC_URL", server.plc_url)
    client = AtmosphereClient(server.url, transport=network)
    client.login(repo.handle, repo.password)
    network.sent.clear()
    return client
