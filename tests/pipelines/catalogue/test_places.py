"""A catalogue in a folder or a bucket, where other files lie: these stay, whatever they are called."""

from types import SimpleNamespace

import pytest

from atdata_core.errors import StorageError
from atdata_core.local import S3DataStore
from atdata_pipelines.catalogue import Bucket, Folder
from atdata_pipelines.catalogue.places import LIST, WrittenFiles, put_files

PICTURE = f"pictures/{'a' * 32}.png"
SITE = {"style.css": b"style", PICTURE: b"png", "datasets/a.html": b"page", "index.html": b"index"}
OWN = ["index.html", "datasets/a.html", "tags/mine.html", PICTURE, f"pictures/{'b' * 32}.png", ".thesis.part", LIST]


@pytest.fixture(params=["folder", "bucket"])
def place(request, tmp_path):
    """``place.target``, ``place.lay(path, data)`` and ``place.there()``, with the list or without it."""
    if request.param == "folder":
        root = tmp_path / "site"

        def lay(path, data):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)

        def there():
            return {str(each.relative_to(root)): each.read_bytes() for each in root.rglob("*") if each.is_file()}

        return SimpleNamespace(target=Folder(root), lay=lay, there=there)
    store = S3DataStore(request.getfixturevalue("s3"), bucket=request.getfixturevalue("bucket"))
    client, name = store.endpoint.client, store.bucket

    def put(path, data):
        client.put_object(Bucket=name, Key=path, Body=data)

    def listed():
        keys = [each["Key"] for each in client.list_objects_v2(Bucket=name).get("Contents", ())]
        return {key: client.get_object(Bucket=name, Key=key)["Body"].read() for key in keys}

    return SimpleNamespace(target=Bucket(store), lay=put, there=listed)


@pytest.mark.parametrize("path", OWN)
def test_where_something_else_lies_nothing_is_written_or_removed(place, path):
    place.lay(path, b'["mine"]')
    with pytest.raises(StorageError, match=r"holds something else.* Give an empty folder or bucket"):
        put_files(SITE, place.target)
    assert place.there() == {path: b'["mine"]'}


def test_beside_a_catalogue_own_files_stay_and_are_not_written_over(place):
    assert put_files(SITE, place.target) == WrittenFiles(written=4, removed=0, unchanged=0)
    own = {path: b"mine" for path in OWN if path not in SITE and path != LIST}
    for path, data in own.items():
        place.lay(path, data)
    assert put_files(SITE, place.target) == WrittenFiles(written=0, removed=0, unchanged=4)
    before = place.there()
    with pytest.raises(StorageError, match=r"tags/mine\.html in .* would be written over\. Move it away"):
        put_files({**SITE, "index.html": b"new", "tags/mine.html": b"page"}, place.target)
    assert place.there() == before
    small = {"style.css": b"style", "index.html": b"new"}
    assert put_files(small, place.target) == WrittenFiles(written=1, removed=2, unchanged=1)
    after = place.there()
    del after[LIST]
    assert after == {**own, **small}


def test_what_was_broken_off_anywhere_is_gone_on_with(place, monkeypatch):
    put_files(SITE, place.target)
    other = {"style.css": b"other", "datasets/b.html": b"b", "tags/b.html": b"b", "index.html": b"other"}
    for step in range(8):
        goal = (other, SITE)[step % 2]
        left = iter(range(step // 2 + 1))

        def counted(call, left=left):
            def limited(*given):
                if next(left, None) is None:
                    raise KeyboardInterrupt
                call(*given)

            return limited

        with monkeypatch.context() as patched:
            patched.setattr(place.target, "write", counted(place.target.write))
            patched.setattr(place.target, "remove", counted(place.target.remove))
            with pytest.raises(KeyboardInterrupt):
                put_files(goal, place.target)
        put_files(goal, place.target)
        there = place.there()
        del there[LIST]
        assert there == goal


def test_a_list_that_names_other_files_removes_none_of_them(place, tmp_path):
    put_files(SITE, place.target)
    place.lay("thesis.txt", b"mine")
    (tmp_path / "outside.html").write_bytes(b"mine")
    names = '["thesis.txt", "../outside.html", "datasets/../../outside.html", "index.html"]'
    place.lay(LIST, f'{{"generator": "atdata-pipelines catalogue", "files": {names}}}'.encode())
    with pytest.raises(StorageError, match="would be written over"):
        put_files(SITE, place.target)
    put_files({"index.html": b"index"}, place.target)
    assert place.there()["thesis.txt"] == b"mine"
    assert (tmp_path / "outside.html").read_bytes() == b"mine"
