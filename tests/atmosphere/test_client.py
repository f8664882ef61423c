"""Against a real PDS: the sandbox's."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.atmosphere.record_format.build import label_record
from atdata_core.atmosphere.record_format.record_keys import LABEL, label_rkey
from atdata_core.common.cid import record_cid
from atdata_core.errors import (
    LoginError,
    NotLoggedInError,
    RecordChangedError,
    RecordNotFoundError,
    StorageError,
)
from atdata_core.state.ledger import timestamp


@pytest.fixture
def label(client):
    """A label record, and its key: changes make another record under the same key."""

    def make(**changes):
        record = label_record(
            name="digits", dataset_uri=f"at://{client.did}/a.b.c/d", version=None, created_at=timestamp()
        )
        return label_rkey(client.did, "digits"), {**record, **changes}

    return make


@pytest.fixture
def commits(client):
    """Whether a commit was made since the last call."""
    seen = [client.latest_commit(client.did)]

    def moved():
        seen.append(client.latest_commit(client.did))
        return seen[-1] != seen[-2]

    return moved


def test_a_login_tells_who_is_logged_in(client, account):
    assert (client.did, client.handle, client.is_authenticated) == (account.did, account.handle, True)
    assert account.password not in repr(client)


def test_without_a_login_there_is_no_account_and_no_writing(environ, pds):
    client = AtmosphereClient()
    assert client.base_url == pds.url
    assert not client.is_authenticated
    for attempt in (
        lambda: client.did,
        client.export_session,
        lambda: client.create_once("a.b.c", "d", {}),
        lambda: client.delete("a.b.c", "d"),
        lambda: client.upload_blob(b"x", "text/plain"),
        lambda: client.list_records("a.b.c"),
    ):
        with pytest.raises(NotLoggedInError, match=r"login\(handle, app_password\)"):
            attempt()


def test_a_wrong_password_is_told_with_handle_and_service_and_not_shown(pds, account):
    client = AtmosphereClient(pds.url)
    with pytest.raises(LoginError, match="Wrong handle or app password") as caught:
        client.login(account.handle, "not-my-password")
    assert account.handle in str(caught.value)
    assert pds.url in str(caught.value)
    assert "not-my-password" not in f"{caught.value} {caught.value.facts}"
    assert caught.value.__cause__ is None
    assert not client.is_authenticated
    with pytest.raises(LoginError, match="needs a handle and an app password"):
        client.login("", "")


def test_a_session_goes_on_in_another_client_without_a_login(client, pds):
    other = AtmosphereClient(pds.url)
    other.login_with_session(client.export_session())
    assert other.did == client.did
    rkey = label_rkey(client.did, "x")
    other.create_once(LABEL, rkey, {"$type": LABEL, "name": "x"})
    assert client.find_record(LABEL, rkey).value["name"] == "x"


@pytest.mark.parametrize(
    "session", ["", "nonsense", "a:::b:::c:::d", "a.test:::did:plc:b:::e.e30.e:::e.e30.e:::{url}"]
)
def test_what_is_no_session_is_told_so(pds, session):
    client = AtmosphereClient(pds.url)
    with pytest.raises(LoginError):
        client.login_with_session(session.format(url=pds.url))
    assert not client.is_authenticated


def test_a_record_is_created_once_and_adopted_afterwards(client, label, commits):
    rkey, record = label()
    written, made = client.create_once(LABEL, rkey, record)
    assert made
    assert commits()
    assert (written.uri, written.cid) == (f"at://{client.did}/{LABEL}/{rkey}", record_cid(record))
    # The same, and the same but for its time.
    for again in (record, {**record, "createdAt": "2020-01-01T00:00:00.000Z"}):
        found, made = client.create_once(LABEL, rkey, again)
        assert not made
        assert (found.cid, found.value["createdAt"]) == (written.cid, record["createdAt"])
    assert not commits()


def test_another_record_under_the_key_is_left_as_it_is_and_told_by_fields(client, label, commits):
    rkey, record = label()
    client.create_once(LABEL, rkey, record)
    commits()
    with pytest.raises(RecordChangedError, match="description, name") as caught:
        client.create_once(LABEL, rkey, {**record, "name": "other", "description": "d"})
    assert caught.value.fields == ["description", "name"]
    assert caught.value.uri == f"at://{client.did}/{LABEL}/{rkey}"
    assert not commits()
    assert client.find_record(LABEL, rkey).value == record


def test_of_many_who_create_at_once_one_makes_a_commit(client, label):
    rkey, record = label()
    rivals = [{**record, "createdAt": f"2026-01-01T00:00:0{n}.000Z"} for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda rival: client.create_once(LABEL, rkey, rival), rivals))
    assert sum(made for _, made in results) == 1
    assert len({found.cid for found, _ in results}) == 1


def test_a_record_is_replaced_only_where_it_is_the_one_last_seen(client, label, commits):
    rkey, record = label()
    first, _ = client.create_once(LABEL, rkey, record)
    second = client.replace(LABEL, rkey, {**record, "description": "new"}, swap=first.cid)
    assert client.find_record(LABEL, rkey) == second
    commits()
    with pytest.raises(RecordChangedError) as caught:
        client.replace(LABEL, rkey, {**record, "description": "mine"}, swap=first.cid)
    assert caught.value.fields == ["description"]
    assert not commits()
    client.delete(LABEL, rkey)
    with pytest.raises(RecordChangedError):
        client.replace(LABEL, rkey, record, swap=second.cid)


def test_bytes_and_links_stay_plain_json(client):
    record = {
        "$type": "a.b.c",
        "raw": {"$bytes": "AP8"},
        "padded": {"$bytes": "AP8="},
        "link": {"$link": "bafkreiah54eqiyr2onizggzv3cpjss4o3ozo3savvil3sowrbgvcec6yt4"},
    }
    client.create_once("a.b.c", "self", record)
    found = client.find_record("a.b.c", "self").value
    assert found["link"] == record["link"]
    assert [found[name]["$bytes"].rstrip("=") for name in ("raw", "padded")] == ["AP8", "AP8"]
    # Padding is no difference.
    assert client.create_once("a.b.c", "self", {**record, "createdAt": "x"})[1] is False


def test_deleting_a_record_twice_is_no_error(client, label):
    rkey, record = label()
    client.create_once(LABEL, rkey, record)
    client.delete(LABEL, rkey)
    client.delete(LABEL, rkey)
    assert client.find_record(LABEL, rkey) is None


def test_a_stranger_reads_by_did_and_by_handle(client, label, environ):
    rkey, record = label()
    written, _ = client.create_once(LABEL, rkey, record)
    stranger = AtmosphereClient()
    for repo in (client.did, client.handle):
        found = stranger.get_record(f"at://{repo}/{LABEL}/{rkey}")
        assert (found.uri, found.cid, found.value) == (written.uri, written.cid, record)
        assert [item.cid for item in stranger.list_records(LABEL, repo=repo)[0]] == [written.cid]


def test_what_is_not_there_is_a_key_error_that_names_it(client, environ):
    stranger = AtmosphereClient()
    missing = f"at://{client.did}/{LABEL}/2222222222222"
    for reader in (client, stranger):
        for uri in (missing, missing.replace(client.did, "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")):
            with pytest.raises(KeyError) as caught:
                reader.get_record(uri)
            assert isinstance(caught.value, RecordNotFoundError)
    with pytest.raises(RecordNotFoundError, match=missing):
        client.get_record(missing)
    with pytest.raises(RecordNotFoundError, match="aaaaaaaaaaaaaaaaaaaaaaaa"):
        stranger.list_records(LABEL, repo="did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")
    with pytest.raises(RecordNotFoundError):
        stranger.latest_commit("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")


def test_a_long_collection_is_listed_in_pages_in_both_orders(client):
    for n in range(5):
        client.create_once("a.b.c", f"key-{n}", {"$type": "a.b.c", "n": n})
    page, cursor = client.list_records("a.b.c", limit=2)
    assert [record.value["n"] for record in page] == [4, 3]
    page, cursor = client.list_records("a.b.c", limit=2, cursor=cursor)
    assert [record.value["n"] for record in page] == [2, 1]
    assert [record.value["n"] for record in client.iter_records("a.b.c", reverse=True)] == [0, 1, 2, 3, 4]
    assert list(client.iter_records("a.b.d")) == []


def test_a_blob_is_kept_by_the_record_that_names_it_and_checked_when_read(client, environ):
    data = b"\x1f\x8b" + bytes(range(256))
    blob = client.upload_blob(data, "application/x-tar")
    assert (blob["$type"], blob["mimeType"], blob["size"]) == ("blob", "application/x-tar", len(data))
    client.create_once("a.b.c", "self", {"$type": "a.b.c", "blob": blob})
    stranger = AtmosphereClient()
    assert stranger.get_blob(client.handle, blob["ref"]["$link"]) == data
    with pytest.raises(RecordNotFoundError):
        stranger.get_blob(client.did, "bafkreiah54eqiyr2onizggzv3cpjss4o3ozo3savvil3sowrbgvcec6yt4")


def test_a_blob_beyond_the_lexicons_limit_is_refused_before_it_is_sent(client):
    with pytest.raises(StorageError, match="smaller shards"):
        client.upload_blob(bytes(52_428_801), "application/x-tar")
