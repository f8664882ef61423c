"""Files behind http, from a server that is in nobody's way: the kernel sends them, no program reads them.

``python -m benchmarks.static FOLDER`` prints its port, and ends when its standard input ends.
"""

from __future__ import annotations

import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOST = "127.0.0.1"


class _Files(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def copyfile(self, source: Any, outputfile: Any) -> None:
        """Send a file behind the headers, which were flushed before."""
        self.connection.sendfile(source)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def main() -> None:
    """Serve until nobody wants it any more."""
    server = ThreadingHTTPServer((HOST, 0), partial(_Files, directory=sys.argv[1]))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
