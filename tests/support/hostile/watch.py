"""What a process does while it reads hostile input: files, addresses, programs, imports, memory.

Nothing leaves the process: a connection to another place than the servers of the attack is noted and refused
before it is made, and names are resolved by a table.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PUBLIC = "93.184.216.34"
NAMES = {
    "public.example": [PUBLIC],
    "private.example": ["10.0.0.7"],
    "loop.example": ["127.0.0.1"],
    "six.example": ["::1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "cloud.example": ["169.254.169.254"],
    "both.example": [PUBLIC, "192.168.1.1"],
    "nowhere.example": [],
}
"""What names lead to. ``turning.example`` is public the first time, and this machine from then on."""

_ENDED = (
    "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn",
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.chown",
    "os.truncate",
    "shutil.rmtree", "shutil.copyfile", "shutil.move", "shutil.unpack_archive", "ctypes.dlopen", "ctypes.dlsym",
    "pickle.find_class", "webbrowser.open", "ftplib.connect", "smtplib.connect",
)  # fmt: skip
"""Events that no input may cause."""


class Watch:
    """Notes what must not happen, as long as it is on.

    ``touched`` counts what was done, each as ``event: object``.
    """

    def __init__(self) -> None:
        self.touched: Counter[str] = Counter()
        self.allowed: set[tuple[str, int]] = set()
        self.readable: tuple[str, ...] = ()
        self._on = False
        self._turns = 0
        self._getaddrinfo = socket.getaddrinfo
        socket.getaddrinfo = self._resolved  # type: ignore[assignment]
        sys.addaudithook(self._noted)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch the block."""
        self._on = True
        try:
            yield
        finally:
            self._on = False

    def turn_back(self) -> None:
        """``turning.example`` is public again."""
        self._turns = 0

    def _resolved(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
        """The operating system's answer, from the table."""
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name == "turning.example":
            self._turns += 1
            found = [PUBLIC] if self._turns == 1 else ["127.0.0.1"]
        elif name in NAMES:
            found = NAMES[name]
        else:
            try:
                # Numbers in all their forms are the system's business.
                return self._getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
            except socket.gaierror:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port or 0, 0, 0))
            if ":" in address
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port or 0))
            for address in found
        ]

    def _noted(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event in _ENDED:
            self._note(event, arguments[:1])
        elif event == "open":
            self._opened(arguments[0])
        elif event == "import":
            if not _is_known(str(arguments[0])):
                self._note(event, arguments[:1])
        elif event == "socket.connect":
            self._connected(arguments[1])
        elif event in ("socket.sendto", "socket.bind"):
            self._note(event, arguments[1:])

    def _opened(self, path: Any) -> None:
        if isinstance(path, int):
            return
        shown = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else repr(path)
        if not shown.startswith((sys.prefix, sys.base_prefix, *self.readable)):
            self._note("open", (shown,))

    def _connected(self, address: Any) -> None:
        host, port = str(address[0]), int(address[1])
        if (host, port) in self.allowed:
            return
        if not _is_public(host):
            self._note("connect", (host, port))
        raise ConnectionRefusedError("nothing leaves this process")

    def _note(self, event: str, arguments: Any) -> None:
        self.touched[f"{event}: {str(arguments)[:200]}"] += 1


def resident() -> int:
    """Bytes of memory that this process holds now."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def forget_peak() -> None:
    """The peak starts anew at what is held now."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def peak() -> int:
    """The most bytes that this process held since ``forget_peak``."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))


def _is_known(module: str) -> bool:
    """Whether it is loaded, or a part of what the library is made of."""
    return module in sys.modules or module.partition(".")[0] in _PACKAGES or _is_standard(module)


def _is_standard(module: str) -> bool:
    return module.partition(".")[0] in sys.stdlib_module_names


def _is_public(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return False


_PACKAGES = {
    "atdata_core", "numpy", "msgpack", "libipld", "httpx", "httpcore", "h11", "anyio", "sniffio", "certifi", "idna",
    "boto3", "botocore", "s3transfer", "urllib3", "jmespath", "dateutil", "six", "redis", "atproto",
    "atproto_client", "atproto_core", "hypothesis", "dotenv", "pydantic", "charset_normalizer", "requests",
}  # fmt: skip
