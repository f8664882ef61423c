"""Whole messages of HTTP and of Redis, read from a stream and written to one."""

from __future__ import annotations

from asyncio import StreamReader
from dataclasses import dataclass, field, replace

_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect", "proxy-connection"}
_WITHOUT_BODY = (204, 304)


@dataclass(frozen=True)
class Call:
    """What a process asks of a service. ``what`` is for people: ``PUT /bucket/key`` or ``HSET key``."""

    service: str
    what: str
    method: str = ""
    path: str = ""
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    raw: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Answer:
    """What the service says to an HTTP request; ``headers`` have lower-case names."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def without(self, header: str) -> Answer:
        """The same answer without a header."""
        return replace(self, headers={name: text for name, text in self.headers.items() if name != header})

    def encoded(self, method: str) -> bytes:
        """The bytes to send to a client that keeps its connection."""
        headers = {name: text for name, text in self.headers.items() if name not in _HOP}
        if method == "HEAD":
            headers["content-length"] = self.headers.get("content-length", "0")
        elif self.status not in _WITHOUT_BODY:
            headers["content-length"] = str(len(self.body))
        head = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
        body = b"" if method == "HEAD" else self.body
        return f"HTTP/1.1 {self.status} .\r\n{head}\r\n".encode("latin-1") + body


async def read_request(service: str, reader: StreamReader, go_on: object) -> Call | None:
    """The next HTTP request of a connection; None at its end. ``go_on()`` asks for a body that waits."""
    head = await reader.readline()
    if not head:
        return None
    method, path, _ = head.decode("latin-1").split(" ", 2)
    headers = await _read_headers(reader)
    if headers.get("expect", "").lower() == "100-continue":
        await go_on()  # pyright: ignore[reportCallIssue, reportGeneralTypeIssues]
    body = await _read_body(reader, headers, to_end=False)
    return Call(service, f"{method} {path.split('?')[0]}", method, path, headers, body)


def request_bytes(call: Call) -> bytes:
    """A request as it is sent on, over a connection of its own; Host stays, which S3 signatures cover."""
    headers = {name: text for name, text in call.headers.items() if name not in _HOP}
    headers["connection"] = "close"
    if call.body or call.method in ("POST", "PUT"):
        headers["content-length"] = str(len(call.body))
    head = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
    return f"{call.method} {call.path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + call.body


async def read_answer(reader: StreamReader, method: str) -> Answer:
    """The answer to a request."""
    while True:
        status = int((await reader.readline()).split(b" ", 2)[1])
        headers = await _read_headers(reader)
        if status != 100:
            break
    if method == "HEAD" or status in _WITHOUT_BODY:
        return Answer(status, headers)
    return Answer(status, headers, await _read_body(reader, headers, to_end=True))


async def _read_headers(reader: StreamReader) -> dict[str, str]:
    headers: dict[str, str] = {}
    while (line := await reader.readline()) not in (b"\r\n", b"\n", b""):
        name, _, text = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = text.strip()
    return headers


async def _read_body(reader: StreamReader, headers: dict[str, str], *, to_end: bool) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = bytearray()
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await _read_headers(reader)
        return bytes(body)
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    return await reader.read() if to_end else b""


async def read_command(service: str, reader: StreamReader) -> Call | None:
    """The next Redis command of a connection; None at its end."""
    raw = await read_redis_value(reader)
    if raw is None:
        return None
    words = raw.split(b"\r\n")[2::2]
    what = b" ".join(words[:2]).decode("latin-1")[:80]
    return Call(service, what, method=words[0].decode("latin-1").upper(), raw=raw)


async def read_redis_value(reader: StreamReader) -> bytes | None:
    """One value of RESP (2 or 3) as it stands: https://redis.io/docs/latest/develop/reference/protocol-spec/."""
    line = await reader.readline()
    if not line:
        return None
    kind, size = line[:1], line[1:].strip()
    if kind in b"$!=" and size != b"-1":
        return line + await reader.readexactly(int(size) + 2)
    if kind in b"*~>%|" and size != b"-1":
        count = int(size) * (2 if kind in b"%|" else 1)
        for _ in range(count):
            line += await read_redis_value(reader) or b""
    return line
