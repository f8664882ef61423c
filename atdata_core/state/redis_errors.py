"""What is wrong with a Redis, told by its own words or by how it answers, and the way out."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from ..common.network_settings import causes
from ..errors import ServiceError, ServiceRefusedError, ServiceUnavailableError

VARIABLE = "ATDATA_REDIS_URL"

RIGHTS = "~* +@read +@write +@scripting +@transaction +@connection"
"""What an ACL user needs to promote; to look (status, plan) the rights ``~* +@read`` are enough."""

_OF_SENTINEL = (
    "is a Sentinel, which only names the primary and keeps no data. Give the primary's address (SENTINEL "
    "GET-MASTER-ADDR-BY-NAME tells it), or redis.sentinel.Sentinel([...]).master_for(NAME), which follows it."
)

_PROBE = 1.0
"""Seconds that a server is given to show whether it speaks TLS."""


class _Kind(NamedTuple):
    """A kind of refusal: how its text is known, what to say of it, and whether it passes.

    ``{text}`` stands for the server's own words. ``reads`` where commands that only read may be answered still.
    """

    pattern: str
    said: str
    passes: bool = False
    reads: bool = False


_KINDS = [
    _Kind(
        "^READONLY",
        f"is a replica that only reads. Set {VARIABLE} to its primary, which takes writes "
        "(INFO replication on the replica names it).",
        reads=True,
    ),
    _Kind(
        "^OOM",
        "has used all the memory it may (maxmemory), and takes no writes. Give it more (CONFIG SET maxmemory, and "
        "the same in redis.conf), or free some.",
        reads=True,
    ),
    _Kind(
        "^MISCONF",
        "takes no writes, because it could not save what it has (MISCONF). Its log says why, mostly a full disk: "
        "mend that.",
        reads=True,
    ),
    _Kind(
        "^NOREPLICAS",
        "takes no writes, because too few of its replicas are there (min-replicas-to-write). Start them.",
        passes=True,
        reads=True,
    ),
    _Kind(
        "^NOPERM|ACL failure in script",
        "does not give {user} a right that is needed: {text}. Whoever manages it grants what promotions need: "
        f"ACL SETUSER {{name}} {RIGHTS}; to look (status, plan) ~* +@read are enough.",
        reads=True,
    ),
    _Kind(
        "unknown command",
        "does not offer a command that is needed: {text}. Use Redis 6 or newer, or Valkey, where none is renamed "
        "or switched off.",
        reads=True,
    ),
    _Kind(
        "^DENIED|protected mode",
        "is in protected mode: it has no password and answers only clients of its own machine. Set a password "
        f"there (CONFIG SET requirepass) and write it into {VARIABLE}: redis://:password@host:6379/0.",
    ),
    _Kind(
        "^WRONGPASS|invalid password",
        "refused the user name or the password, or this user is switched off. "
        f"Mend them in {VARIABLE}: redis://user:password@host:6379/0.",
    ),
    _Kind(
        "^NOAUTH",
        f"wants a password, and was given none. Write it into {VARIABLE}: redis://user:password@host:6379/0, or "
        "redis://:password@host:6379/0 for the user `default`.",
    ),
    _Kind(
        "without any password configured|no password is set",
        f"has no password, and was given one. Take it out of {VARIABLE}.",
    ),
    _Kind(
        "DB index|^ERR value is not an integer",
        "has no database {database}. Most have 0 to 15 (its setting `databases`), one of a cluster has only 0: "
        f"mend the number at the end of {VARIABLE}.",
    ),
    _Kind(
        "^MOVED|^ASK |^CROSSSLOT|^CLUSTERDOWN|^TRYAGAIN|cluster|same slot",
        "is part of a cluster, which keeps keys on several servers. An index needs all of its keys on one: set "
        f"{VARIABLE} to a Redis with cluster mode off (replicas are fine).",
    ),
    _Kind(
        "^MASTERDOWN",
        "is a replica that has lost its primary, and does not answer until it is back. Start the primary, or set "
        f"{VARIABLE} to it.",
        passes=True,
    ),
    _Kind(
        "^No (?:master|slave) found",
        "is named by none of the Sentinels: {text}. They know no server of that name (SENTINEL MASTERS lists those "
        "that they do), do not answer, or are about to choose another one.",
        passes=True,
    ),
    _Kind("^LOADING", "is loading its data after a start. Wait until it is done (INFO persistence).", passes=True),
    _Kind(
        "max number of clients",
        "has no connection free (maxclients). Close clients that nobody needs, or raise that setting.",
        passes=True,
    ),
    _Kind("^BUSY ", "is busy with a script of somebody. Wait until that ends (SCRIPT KILL ends it).", passes=True),
    _Kind(
        "WRONGTYPE",
        "holds another kind of value under a key that an index uses. Delete that key, or give the index a database "
        f"of its own (the number at the end of {VARIABLE}).",
    ),
]


def address(redis: Any) -> str:
    """Where a client's server is, ``host:port``, the path of its socket or its name at Sentinels; no password."""
    pool = redis.connection_pool
    where = pool.connection_kwargs
    if hasattr(pool, "sentinel_manager"):
        return f"{pool.service_name} (Sentinel {', '.join(map(address, pool.sentinel_manager.sentinels))})"
    if "path" in where:
        return str(where["path"])
    return f"{where.get('host', 'localhost')}:{where.get('port', 6379)}"


def reads_still(error: Exception) -> bool:
    """Whether an error of redis-py means that scripts or writes are refused, and commands that read may not be."""
    from redis.exceptions import RedisError

    kind = _kind(error) if isinstance(error, RedisError) else None
    return kind is not None and kind.reads


def is_wrong_type(error: Exception) -> bool:
    """Whether an error of redis-py means that a key is of another type than a command is for."""
    return "WRONGTYPE" in _text(error)


def can_pass(error: Exception) -> bool:
    """Whether an error is one of redis-py's that may be gone later."""
    from redis import exceptions

    # redis-py takes them for connection errors, but a wrong password stays wrong.
    if isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError):
        return False
    return isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError | exceptions.TryAgainError)


def named(redis: Any, error: Exception) -> ServiceError:
    """Our error for one of redis-py's."""
    from redis import exceptions

    kind = _kind(error)
    if "unknown command" in _text(error) and _is_sentinel(redis):
        return _error(redis, error, _OF_SENTINEL, passes=False)
    if kind is not None:
        options = redis.connection_pool.connection_kwargs
        name = options.get("username") or "default"
        said = kind.said.format(
            text=_text(error).rstrip("."), user=f"the user {name}", name=name, database=options.get("db")
        )
        return _error(redis, error, said, passes=kind.passes)
    if isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError | exceptions.InvalidResponse):
        return _unanswered(redis, error)
    return _error(redis, error, f"refused: {_text(error)}", passes=False)


def _is_sentinel(redis: Any) -> bool:
    from redis.exceptions import RedisError

    with suppress(RedisError):
        return redis.execute_command("ROLE")[0] == b"sentinel"
    return False


def _kind(error: Exception) -> _Kind | None:
    code = getattr(error, "status_code", None)
    text = f"{code or ''} {_text(error)}".strip()
    return next((kind for kind in _KINDS if re.search(kind.pattern, text)), None)


def _text(error: Exception) -> str:
    # A pipeline puts its command before, with all that was to be written. A server's text repeats no argument, but
    # may name a key, never a password.
    return str(error).rpartition("of pipeline caused error: ")[2].partition(", with args beginning")[0]


def _error(redis: Any, error: Exception, said: str, *, passes: bool) -> ServiceError:
    message = f"Redis at {address(redis)} {said}"
    if passes:
        return ServiceUnavailableError(message, service=address(redis), status=None)
    return ServiceRefusedError(message, service=address(redis), status=None, error=type(error).__name__)


def _unanswered(redis: Any, error: Exception) -> ServiceError:
    """Of a server that was not reached, or that answers as no Redis does."""
    where = redis.connection_pool.connection_kwargs
    secure = _speaks_tls(redis)
    if secure:
        said = _of_tls(error)
        if (
            said is None
            and "host" in where
            and _CLOSED.search(str(error))
            and _wants_certificate(where["host"], where["port"])
        ):
            said = _OF_CLIENTS
        if said is None and "host" in where and _answers_plainly(where["host"], where["port"]):
            said = f"speaks no TLS. Write redis:// instead of rediss:// in {VARIABLE}."
        if said is not None:
            return _error(redis, error, said, passes=False)
    elif "host" in where and _CLOSED.search(str(error)):
        if _shakes_hands(where["host"], where["port"]):
            said = f"speaks TLS. Write rediss:// instead of redis:// in {VARIABLE}."
            return _error(redis, error, said, passes=False)
        if "Protocol Error" in str(error):
            said = f"answers, but not as Redis does. Mend host and port in {VARIABLE}."
            return _error(redis, error, said, passes=False)
    if any(isinstance(cause, socket.gaierror) for cause in causes(error)):
        said = f"cannot be found: no address is known of that host. Mend it in {VARIABLE}."
        return _error(redis, error, said, passes=True)
    said = (
        f"does not answer ({type(error).__name__}). Start it (redis-server, or: atdata-pipelines sandbox) or set "
        f"{VARIABLE} to where it runs."
    )
    return _error(redis, error, said, passes=True)


_REQUIRED = "CERTIFICATE_REQUIRED"
_OF_CLIENTS = (
    "wants a certificate of its clients. Name it: ?ssl_certfile=/path/client.pem&ssl_keyfile=/path/client.key "
    f"at the end of {VARIABLE}."
)
_CLOSED = re.compile("closed|reset|Protocol Error|EOF|aborted|[Bb]roken pipe")


def _speaks_tls(redis: Any) -> bool:
    from redis import SSLConnection

    return issubclass(redis.connection_pool.connection_class, SSLConnection)


def _of_tls(error: Exception) -> str | None:
    """What is wrong with certificates; None where nothing of that kind is."""
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = cause.verify_message
            if "expired" in why or "not yet valid" in why:
                now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
                return (
                    f"has a certificate that is not valid at this time ({why}). This machine's clock says {now}: "
                    "set it right if it is wrong, else have the certificate renewed."
                )
            if "mismatch" in why or "not valid for" in why:
                return f"has a certificate for another name ({why}). Write the name that it is for into {VARIABLE}."
            return (
                f"has a certificate of an authority that this machine does not know ({why}). Name the file with "
                f"its certificate: SSL_CERT_FILE, or ?ssl_ca_certs=/path/ca.pem at the end of {VARIABLE}."
            )
        if isinstance(cause, FileNotFoundError | PermissionError | IsADirectoryError):
            return (
                "cannot be asked: a file of certificates that was named cannot be read "
                f"({cause.strerror}). Mend ssl_ca_certs, ssl_certfile or ssl_keyfile in {VARIABLE}."
            )
    return _OF_CLIENTS if _REQUIRED in str(error) else None


def _answers_plainly(host: str, port: int) -> bool:
    """Whether a server answers as Redis does without TLS."""

    def ask(connection: socket.socket) -> bool:
        connection.sendall(b"PING\r\n")
        return connection.recv(1) in (b"+", b"-")

    return _probed(host, port, ask)


def _shakes_hands(host: str, port: int) -> bool:
    """Whether a server speaks TLS; one that answers without does not."""

    def ask(connection: socket.socket) -> bool:
        with _secured(connection):
            return True

    return not _answers_plainly(host, port) and _probed(host, port, ask)


def _wants_certificate(host: str, port: int) -> bool:
    """Whether a server ends a connection because it was shown no certificate; it may do so before it is read."""

    def ask(connection: socket.socket) -> bool:
        with _secured(connection) as secured:
            try:
                secured.recv(1)
            except ssl.SSLError as error:
                return _REQUIRED in str(error)
        return False

    return _probed(host, port, ask)


def _secured(connection: socket.socket) -> ssl.SSLSocket:
    # No secret is sent, and nothing of it is kept: who it is does not matter here.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connection)


def _probed(host: str, port: int, ask: Callable[[socket.socket], bool]) -> bool:
    try:
        with socket.create_connection((host, port), _PROBE) as connection:
            return ask(connection)
    except (OSError, ValueError):
        return False
