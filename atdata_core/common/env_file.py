"""Files of variables (``.env``) as people save them."""

from __future__ import annotations

import codecs
import io
from pathlib import Path

from ..errors import RefusedError


def open_env_file(path: Path) -> io.StringIO:
    """The text of a file, which is there.

    It is read in UTF-8, and in UTF-16 where it begins as editors of Windows begin that.

    Raises:
        RefusedError: It cannot be read, or is in another encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RefusedError(
            f"{path} cannot be read ({error.strerror}). Mend its permissions, or move it away."
        ) from None
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
        line = text.partition("\0")[0].count("\n") + 1 if "\0" in text else None
    except UnicodeDecodeError as error:
        text, line = "", data[: error.start].count(b"\n") + 1
    if line is not None:
        raise RefusedError(f"{path} is not in UTF-8: see its line {line}. Save it in UTF-8.")
    return io.StringIO(text)
