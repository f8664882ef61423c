"""A session that the processes of a machine share, against the sandbox's PDS."""

import base64
import gc
import json
import logging
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import httpx
import pytest

from atdata_core.atmosphere import AtmosphereClient
from atdata_core.common import state_file
from atdata_core.errors import LoginError


class Edge(httpx.HTTPTransport):
    """The network, which notes what is asked and refuses the next writes for the reasons in ``refusals``."""

    def __init__(self):
        super().__init__()
        self.asked = []
        self.refusals = iter(())
        self.closed = 0

    def close(self):
        self.closed += 1
        super().close()

    def handle_request(self, request):
        method = request.url.path.rpartition(".")[2]
        self.asked.append(method)
        if method == "putRecord" and (reason := next(self.refusals, None)):
            return httpx.Response(400, json={"error": reason, "message": "no"})
        return super().handle_request(request)


@pytest.fixture
def edge(closing):
    return closing(Edge())


@pytest.fixture
def login(pds, account, edge, environ):
    """A new client that shares the session of the account, as a new process would have it."""

    def make(password=account.password):
        client = AtmosphereClient(pds.url, transport=edge)
        client.login(account.handle, password, shared=True)
        return client

    return make


@pytest.fixture
def kept(state_folder):
    """The file of the session."""

    def find():
        (found,) = (state_folder / "sessions").glob("*.json")
        return found

    return find


def change(path, **values):
    content = json.loads(path.read_text())
    content["session"] |= {name: value for name, value in values.items() if name in content["session"]}
    content |= {name: value for name, value in values.items() if name not in content["session"]}
    path.write_text(json.dumps(content))


def write(client, rkey):
    return client.create_once("a.b.c", rkey, {"$type": "a.b.c"})


def end(client, edge, pds):
    """Revoke the session of a client; its access token is too old."""
    refresh = client.export_session().split(":::")[3]
    httpx.post(
        f"{pds.url}/xrpc/com.atproto.server.deleteSession", headers={"authorization": f"Bearer {refresh}"}
    ).raise_for_status()
    edge.refusals = iter(["ExpiredToken"])


def test_the_second_login_takes_up_the_session_without_a_request(login, edge, account):
    first = login()
    edge.asked.clear()
    second = login()
    assert edge.asked == []
    assert (second.did, second.handle) == (account.did, first.handle)
    write(second, "x")
    assert edge.asked == ["putRecord"]


def test_only_its_owner_may_read_the_session_and_no_password_is_in_it(login, kept, account, state_folder):
    umask = os.umask(0)
    try:
        login()
    finally:
        os.umask(umask)
    for path in (kept(), kept().with_suffix(".lock")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept().parent.stat().st_mode) == 0o700
    assert account.password not in kept().read_text()
    assert sorted(path.suffix for path in kept().parent.iterdir()) == [".json", ".lock"]


def forged(path, name, **claims):
    token = json.loads(path.read_text())["session"][name]
    header, payload, signature = token.split(".")
    found = json.loads(base64.urlsafe_b64decode(payload + "=="))
    payload = base64.urlsafe_b64encode(json.dumps(found | claims).encode()).decode().rstrip("=")
    change(path, **{name: f"{header}.{payload}.{signature}"})


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text(""),
        lambda path: path.write_text('{"session": '),
        lambda path: path.write_text("[" * 60_000),
        lambda path: path.write_text('{"session": []}'),
        lambda path: path.write_bytes(b"\xff" * 100_000),
        lambda path: change(path, access=7),
        lambda path: change(path, refresh=""),
        lambda path: change(path, refresh="a.b.c"),
        lambda path: change(path, did="did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"),
        lambda path: change(path, service="https://pds.example"),
        lambda path: change(path, login="somebody.test"),
        lambda path: change(path, password={"salt": "zz", "scrypt": ""}),
        lambda path: change(path, password=None),
        lambda path: forged(path, "access", sub="did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"),
        lambda path: forged(path, "refresh", exp=1_000_000_000),
        lambda path: path.chmod(0o644),
        lambda path: path.chmod(0o620),
        lambda path: path.rename(path.with_suffix(".other")) and path.symlink_to(path.with_suffix(".other")),
        lambda path: path.unlink() or os.mkfifo(path),
    ],
)
def test_a_file_that_cannot_be_trusted_is_replaced(login, edge, kept, damage):
    login()
    damage(kept())
    edge.asked.clear()
    login()
    assert edge.asked == ["createSession"]
    assert stat.S_IMODE(kept().lstat().st_mode) == 0o600
    assert kept().is_file()
    login()
    assert edge.asked == ["createSession"]


def test_a_session_that_another_password_made_is_not_taken_up(login, edge, kept):
    login()
    before = kept().read_bytes()
    with pytest.raises(LoginError, match="Wrong handle or app password"):
        login("not-my-password")
    assert kept().read_bytes() == before
    change(kept(), password={"salt": "00" * 16, "scrypt": "00" * 32})
    edge.asked.clear()
    login()
    assert edge.asked == ["createSession"]


def test_tokens_that_another_client_renewed_are_taken_without_a_request(login, edge):
    first, second = login(), login()
    before = first.export_session().split(":::")[2]
    # Access tokens of one second are the same to the letter.
    while first.export_session().split(":::")[2] == before:
        edge.refusals = iter(["ExpiredToken"])
        write(first, "x")
    edge.asked.clear()
    edge.refusals = iter(["ExpiredToken"])
    write(second, "y")
    assert edge.asked == ["putRecord", "putRecord"]
    assert first.export_session() == second.export_session()


def test_a_session_that_was_revoked_is_logged_in_anew(login, edge, pds):
    client, other = login(), login()
    end(client, edge, pds)
    edge.asked.clear()
    write(client, "x")
    assert edge.asked == ["putRecord", "refreshSession", "createSession", "putRecord"]
    write(other, "y")
    assert edge.asked.count("createSession") == 1


@pytest.mark.parametrize("reason", ["InvalidToken", "BadJwt"])
def test_a_session_that_a_restored_pds_does_not_know_is_logged_in_anew(login, edge, reason):
    client = login()
    edge.refusals = iter([reason])
    edge.asked.clear()
    write(client, "x")
    assert edge.asked == ["putRecord", "createSession", "putRecord"]


def test_a_pds_that_refuses_every_session_is_asked_for_one_more_only(login, edge):
    client = login()
    edge.refusals = repeat("InvalidToken")
    edge.asked.clear()
    for _ in range(3):
        with pytest.raises(LoginError, match="has ended"):
            write(client, "x")
    assert edge.asked.count("createSession") == 1


def test_a_session_that_has_ended_and_a_password_that_was_withdrawn_ask_for_a_login(login, edge, pds, account):
    client = login()
    end(client, edge, pds)
    client._session.account._file.password = "withdrawn"
    edge.asked.clear()
    with pytest.raises(LoginError, match="Wrong handle or app password"):
        write(client, "x")
    for _ in range(3):
        edge.refusals = iter(["ExpiredToken"])
        with pytest.raises(LoginError, match="Log in again"):
            write(client, "x")
    assert edge.asked.count("createSession") == 1
    assert "withdrawn" not in repr(client._session.account._file)


def test_clients_that_start_at_once_log_in_once(login, edge):
    with ThreadPoolExecutor(12) as pool:
        clients = list(pool.map(lambda _: login(), range(12)))
    assert edge.asked.count("createSession") == 1
    assert len({client.export_session() for client in clients}) == 1


def test_without_a_state_folder_each_logs_in_by_itself_and_it_is_said_once(
    login, edge, monkeypatch, tmp_path, caplog
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ATDATA_STATE_DIR", str(tmp_path / "file" / "state"))
    state_file._warn.cache_clear()
    with caplog.at_level(logging.WARNING, "atdata_core"):
        for number in range(2):
            write(login(), str(number))
    assert edge.asked == ["createSession", "putRecord"] * 2
    (said,) = caplog.messages
    assert str(tmp_path) in said
    assert "ATDATA_STATE_DIR" in said


def test_nothing_of_the_session_is_shown(login, edge, pds, caplog):
    caplog.set_level(logging.DEBUG)
    client = login()
    secrets = client.export_session().split(":::")[2:4]
    account = client._session.account
    shown = f"{client!r} {account!r} {account._file!r} {account._file.of_account(client.did)!r}"
    end(client, edge, pds)
    edge.refusals = repeat("InvalidToken")
    with pytest.raises(LoginError) as caught:
        write(client, "x")
    shown += f"{caught.value} {caught.value.facts} {caught.value.__cause__!r} {caplog.text}"
    for secret in (*secrets, account._file.password):
        assert secret not in shown


def test_a_transport_that_was_given_is_left_open_when_tokens_and_clients_go(login, edge):
    """Closing it waits for the lock of its connections, which the thread that collects garbage may hold."""
    first, second = login(), login()
    for number in range(3):
        edge.refusals = iter(["ExpiredToken"])
        write(first, f"first-{number}")
        edge.refusals = iter(["ExpiredToken"])
        write(second, f"second-{number}")
    del first, second
    gc.collect()
    assert edge.asked.count("refreshSession") >= 3
    assert edge.closed == 0
