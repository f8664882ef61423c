"""Finding the PDS of a repository that another one than ``base_url`` holds."""

import socket

import httpx
import pytest

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.errors import PrivateAddressError, RecordNotFoundError, RefusedError, ServiceUnavailableError

DID = "did:plc:abcdefghijklmnopqrstuvwx"
WEB = "did:web:data.example"
RECORD = {"$type": "a.b.c", "n": 1}
NAMES = {"home.example": "93.184.216.34", "data.example": "93.184.216.35", "inside.example": "10.0.0.7"}


def document(did, endpoint, **changes):
    service = {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": endpoint}
    return {"id": did, "service": [{"id": "#other", "type": "X", "serviceEndpoint": 3}, {**service, **changes}]}


class Internet(httpx.MockTransport):
    """Hosts by name, whatever address they are asked at."""

    def __init__(self):
        self.asked = []
        self.pages = {}
        super().__init__(self.answer)

    def answer(self, request):
        url = f"{request.headers['host']}{request.url.path}"
        self.asked.append((url, request.url.host))
        page = self.pages.get(url) or self.pages.get(f"{url}?{request.url.params.get('repo')}")
        if page is None:
            name = "RepoNotFound" if "/xrpc/" in url else "NotFound"
            return httpx.Response(
                400 if "/xrpc/" in url else 404, json={"error": name, "message": "Could not find it"}
            )
        return httpx.Response(200, json=page) if isinstance(page, dict) else httpx.Response(200, text=page)


@pytest.fixture
def internet(monkeypatch):
    network = Internet()
    network.pages["home.example/xrpc/com.atproto.repo.getRecord"] = {
        "uri": f"at://{DID}/a.b.c/d", "cid": "bafy", "value": RECORD,
    }  # fmt: skip

    def resolve(host, port, *rest, **more):
        if host not in NAMES:
            return real(host, port, *rest, **more, flags=socket.AI_NUMERICHOST)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (NAMES[host], port))]

    real = socket.getaddrinfo

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for name in ("ATDATA_PDS_URL", "ATDATA_PLC_URL", "ATDATA_ALLOW_PRIVATE"):
        monkeypatch.delenv(name, raising=False)
    return network


@pytest.fixture
def client(internet):
    return AtmosphereClient("https://hub.example", transport=internet)


def test_a_repository_that_lies_elsewhere_is_found_through_the_directory(client, internet):
    internet.pages[f"plc.directory/{DID}"] = document(DID, "https://home.example/")
    assert client.get_record(f"at://{DID}/a.b.c/d").value == RECORD
    assert [url for url, _ in internet.asked] == [
        "hub.example/xrpc/com.atproto.repo.getRecord",
        f"plc.directory/{DID}",
        "home.example/xrpc/com.atproto.repo.getRecord",
    ]
    # It goes to the address that was checked; a second look at the name could give another.
    assert internet.asked[-1][1] == NAMES["home.example"]


def test_the_directory_of_the_environment_is_asked(internet, monkeypatch):
    monkeypatch.setenv("ATDATA_PLC_URL", "http://127.0.0.1:9999/")
    internet.pages[f"127.0.0.1:9999/{DID}"] = document(DID, "https://home.example")
    client = AtmosphereClient("https://hub.example", transport=internet)
    assert client.get_record(f"at://{DID}/a.b.c/d").value == RECORD


def test_a_did_web_is_resolved_by_its_own_site(client, internet):
    internet.pages["data.example/.well-known/did.json"] = document(
        WEB, "https://home.example", id=f"{WEB}#atproto_pds"
    )
    assert client.get_record(f"at://{WEB}/a.b.c/d").value == RECORD


def test_a_handle_that_the_pds_does_not_know_is_resolved_by_its_own_site(client, internet):
    internet.pages["data.example/.well-known/atproto-did"] = f"{DID}\n"
    internet.pages[f"plc.directory/{DID}"] = document(DID, "https://home.example")
    assert client.get_record("at://Data.example/a.b.c/d").value == RECORD


@pytest.mark.parametrize("repo", ["data.example", "nowhere.example", "inside.example", DID, WEB])
def test_who_is_not_found_anywhere_is_a_key_error_that_names_them(client, repo):
    with pytest.raises(RecordNotFoundError, match=repo):
        client.get_record(f"at://{repo}/a.b.c/d")


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.1:2583", "https://inside.example", "http://169.254.169.254", "http://[::1]:80"]
)
def test_a_document_that_points_at_a_private_address_is_not_followed(client, internet, endpoint):
    internet.pages[f"plc.directory/{DID}"] = document(DID, endpoint)
    with pytest.raises(PrivateAddressError, match="ATDATA_ALLOW_PRIVATE"):
        client.get_record(f"at://{DID}/a.b.c/d")
    assert [url.split("/")[0] for url, _ in internet.asked] == ["hub.example", "plc.directory"]


def test_a_private_address_that_is_configured_is_asked(internet, monkeypatch):
    monkeypatch.setenv("ATDATA_ALLOW_PRIVATE", "127.0.0.1:2583")
    internet.pages[f"plc.directory/{DID}"] = document(DID, "http://127.0.0.1:2583")
    internet.pages["127.0.0.1:2583/xrpc/com.atproto.repo.getRecord"] = {
        "uri": "at://x",
        "cid": "c",
        "value": RECORD,
    }
    client = AtmosphereClient("https://hub.example", transport=internet)
    assert client.get_record(f"at://{DID}/a.b.c/d").value == RECORD


def test_a_document_of_somebody_else_or_without_a_pds_is_refused(client, internet):
    internet.pages[f"plc.directory/{DID}"] = document("did:plc:other", "https://home.example")
    with pytest.raises(RefusedError, match="not that of"):
        client.get_record(f"at://{DID}/a.b.c/d")
    for broken in (
        {"id": DID},
        {"id": DID, "service": "x"},
        {"id": DID, "service": [3, {"type": "X"}]},
        document(DID, "https://user:secret@home.example"),
        document(DID, "ftp://home.example"),
    ):
        internet.pages[f"plc.directory/{DID}"] = broken
        with pytest.raises(RecordNotFoundError, match="names no PDS"):
            client.get_record(f"at://{DID}/a.b.c/d")


def test_a_directory_that_is_down_is_told_by_name(internet):
    def answer(request):
        if request.headers["host"] == "plc.directory":
            raise httpx.ConnectError("refused")
        return internet.answer(request)

    client = AtmosphereClient("https://hub.example", transport=httpx.MockTransport(answer))
    with pytest.raises(ServiceUnavailableError, match=r"https://plc\.directory"):
        client.get_record(f"at://{DID}/a.b.c/d")


def test_a_did_of_an_unknown_kind_is_refused(client):
    with pytest.raises(RefusedError, match="did:key:abc"):
        client.get_record("at://did:key:abc/a.b.c/d")
