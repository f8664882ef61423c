"""Files of variables, in the encodings that editors leave them in."""

from pathlib import Path

import pytest

from atdata_core.common.env_file import open_env_file
from atdata_core.errors import CredentialsError, RefusedError
from atdata_core.local import S3DataStore

TEXT = "AWS_ACCESS_KEY_ID=key\nAWS_SECRET_ACCESS_KEY=schlüssel\nAWS_ENDPOINT=http://127.0.0.1:9\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_is_read_in_the_encodings_that_say_what_they_are(tmp_path: Path, encoding: str):
    file = tmp_path / "keys.env"
    file.write_bytes(TEXT.encode(encoding))
    assert open_env_file(file).getvalue() == TEXT
    assert S3DataStore(file, bucket="b").endpoint.secret_key == "schlüssel"


@pytest.mark.parametrize(("encoding", "line"), [("latin-1", 2), ("utf-16-le", 2)])
def test_a_file_in_another_encoding_is_refused_by_name_and_line(tmp_path: Path, encoding: str, line: int):
    file = tmp_path / "keys.env"
    file.write_bytes(TEXT.encode(encoding))
    with pytest.raises(RefusedError, match=rf"keys\.env is not in UTF-8: see its line {line}"):
        open_env_file(file)
    with pytest.raises(CredentialsError, match=r"keys\.env is not in UTF-8"):
        S3DataStore(file, bucket="b")


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path):
    with pytest.raises(RefusedError, match="cannot be read"):
        open_env_file(tmp_path)
