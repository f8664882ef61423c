"""What a sandbox remembers in its folder: ports, keys, accounts; and who holds the folder."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from atdata_core.common.state_file import write_private
from atdata_core.errors import AtdataError


class SandboxError(AtdataError, RuntimeError):
    """The sandbox cannot start or be used as asked. Facts: ``service``, ``port``, ``folder`` where known."""


@dataclass
class SandboxState:
    """Everything that a second start must find again."""

    ports: dict[str, int] = field(default_factory=dict[str, int])
    s3_access_key: str = field(default_factory=lambda: secrets.token_hex(10))
    s3_secret_key: str = field(default_factory=lambda: secrets.token_hex(20), repr=False)
    redis_password: str = field(default_factory=lambda: secrets.token_hex(20), repr=False)
    invite_code: str = field(default_factory=lambda: secrets.token_hex(20), repr=False)
    handle: str = "demo.test"
    passwords: dict[str, str] = field(default_factory=dict[str, str], repr=False)

    @property
    def password(self) -> str:
        """The password of ``handle``; made when it is first asked for."""
        return self.passwords.setdefault(self.handle, secrets.token_urlsafe(18))

    def save(self, root: Path) -> None:
        """Keep it in ``root``, readable by the owner alone."""
        write_private(root / "state.json", json.dumps(asdict(self), indent=2))

    @classmethod
    def load(cls, root: Path) -> SandboxState | None:
        """What ``save`` kept, or None.

        Raises:
            SandboxError: the file is no state of a sandbox.
        """
        path = root / "state.json"
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError):
            raise SandboxError(
                f"{path} is damaged. Restore it, or delete the folder {root} to start anew.", folder=str(root)
            ) from None


def lock(root: Path) -> int | None:
    """Take the folder; a file descriptor that holds it, or None where another sandbox has it.

    The hold is shared by every process that has inherited the descriptor and ends with the last of them.
    """
    descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
