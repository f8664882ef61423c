"""Ports of this machine: free ones, and whether one is taken."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection

HOST = "127.0.0.1"

# Below the ranges from which systems take ports for outgoing connections (Linux 32768-60999, macOS
# 49152-65535), so that a port kept for the next start is not lent to a stranger meanwhile.
_CANDIDATES = range(20000, 32000)


def is_taken(port: int) -> bool:
    """Whether something on this machine listens on ``port`` of 127.0.0.1."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # A server that listens on all addresses does not keep everyone from binding 127.0.0.1: ask too.
        probe.settimeout(1.0)
        if probe.connect_ex((HOST, port)) == 0:
            return True
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def free_port(besides: Collection[int] = ()) -> int:
    """A port on which nothing listens, and none of ``besides``."""
    while True:
        port = random.choice(_CANDIDATES)
        if port not in besides and not is_taken(port):
            return port


def answers(port: int, *, send: bytes = b"", expect: bytes = b"") -> bool:
    """Whether a server on ``port`` takes a connection and, having been sent ``send``, says ``expect``."""
    try:
        with socket.create_connection((HOST, port), timeout=1.0) as connection:
            if not expect:
                return True
            connection.sendall(send)
            said = b""
            while expect not in said:
                more = connection.recv(4096)
                if not more:
                    return False
                said += more
            return True
    except OSError:
        return False
