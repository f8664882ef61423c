"""The machine that this process runs on, and what it calls the same processes."""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import cache
from pathlib import Path


@cache
def machine() -> str:
    """What is the same for all processes that see each other's numbers, and for no others."""
    seen = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        with suppress(OSError):
            file = Path(path)
            seen.append(str(file.readlink()) if file.is_symlink() else file.read_text().strip())
    return "/".join(seen).replace(" ", "-")
