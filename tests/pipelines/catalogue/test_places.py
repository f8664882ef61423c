"""A catalogue in a folder or a bucket, where other files lie: these stay, whatever they are called."""

from pathlib import Path
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


@pytest.fixture
def linked(tmp_path):
    """``linked(folder)`` makes one of a catalogue's folders a link to another, where a file of that name lies."""
    put_files(SITE, Folder(tmp_path / "site"))
    outside = tmp_path / "outside"
    outside.mkdir()

    def link(folder):
        name = Path(next(path for path in SITE if path.startswith(folder))).name
        (outside / name).write_bytes(b"mine")
        (tmp_path / "site" / folder).rename(tmp_path / f"old {folder}")
        (tmp_path / "site" / folder).symlink_to(outside)
        return outside / name

    return link


@pytest.mark.parametrize("folder", ["datasets", "pictures"])
@pytest.mark.parametrize("goal", [SITE, {"style.css": b"style", "index.html": b"new"}], ids=["written", "removed"])
def test_nothing_is_written_or_removed_where_a_link_in_the_folder_leads(linked, tmp_path, folder, goal):
    outside = linked(folder)
    before = (tmp_path / "site" / "index.html").read_bytes()
    with pytest.raises(StorageError, match=rf"{folder} is a link to another folder.* Remove the link"):
        put_files(goal, Folder(tmp_path / "site"))
    assert [each.read_bytes() for each in outside.parent.iterdir()] == [b"mine"]
    assert (tmp_path / "site" / "index.html").read_bytes() == before


def test_the_folder_itself_may_be_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "site").symlink_to("there")
    put_files(SITE, Folder(tmp_path / "site"))
    assert put_files({"index.html": b"index"}, Folder(tmp_path / "site")).removed == 3
    assert (tmp_path / "there" / "index.html").read_bytes() == b"index"


@pytest.mark.parametrize("path", ["datasets/a.html", "index.html", LIST, f".{LIST}.part"])
@pytest.mark.parametrize("goal", [{**SITE, "style.css": b"new"}, {"style.css": b"new"}], ids=["written", "removed"])
def test_a_folder_where_a_file_is_needed_is_named(tmp_path, path, goal):
    put_files(SITE, Folder(tmp_path))
    (tmp_path / path).unlink(missing_ok=True)
    (tmp_path / path / "below").mkdir(parents=True)
    with pytest.raises(StorageError, match=rf"{path} cannot be used: a folder is where a file is needed\. Move it"):
        put_files(goal, Folder(tmp_path))
    assert (tmp_path / path / "below").is_dir()


def test_a_list_that_nobody_can_read_is_something_else(place):
    for data in (b"[" * 200_000, b"\xff", b'{"generator": "atdata-pipelines catalogue", "files": 3}'):
        place.lay(LIST, data)
        with pytest.raises(StorageError, match="holds something else"):
            put_files(SITE, place.target)


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
