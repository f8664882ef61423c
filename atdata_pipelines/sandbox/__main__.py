"""``python -m atdata_pipelines.sandbox [FOLDER]``: a sandbox in the foreground."""

from __future__ import annotations

import argparse
import sys

from atdata_pipelines.sandbox import SandboxError, serve


def main() -> int:
    """Run it; 1 where it could not start."""
    parser = argparse.ArgumentParser(
        prog="python -m atdata_pipelines.sandbox", description="Redis, S3 and a PDS on this machine"
    )
    parser.add_argument("folder", nargs="?", help="where to keep data and ports (absent: a temporary folder)")
    parser.add_argument("--redis-port", type=int)
    parser.add_argument("--s3-port", type=int)
    parser.add_argument("--pds-port", type=int)
    parser.add_argument("--handle")
    parser.add_argument("--bucket", action="append", default=[], help="may be repeated")
    given = parser.parse_args()
    try:
        serve(
            given.folder,
            redis_port=given.redis_port,
            s3_port=given.s3_port,
            pds_port=given.pds_port,
            handle=given.handle,
            buckets=given.bucket,
        )
    except SandboxError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
