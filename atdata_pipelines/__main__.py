"""The ``atdata-pipelines`` command, which ``python -m atdata_pipelines`` is as well."""

import os
import signal


def main() -> None:
    """Run the command; Ctrl-C while it is loaded ends it as Ctrl-C does later."""
    heeded = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    if heeded:
        signal.signal(signal.SIGINT, _stopped)
    from .cli import main as program

    if heeded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    program(prog_name="atdata-pipelines")


def _stopped(*_: object) -> None:
    # Not KeyboardInterrupt, which imports turn into errors of their own.
    os.write(2, b"Stopped before anything was begun. Run it again.\n")
    os._exit(130)


if __name__ == "__main__":
    main()
