"""Small private files that the processes of a user share."""

import logging
import os
import stat
import threading
from pathlib import Path

import pytest

from atdata_core.common import state_file
from atdata_core.common.state_file import StateFile, state_folder


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"ATDATA_STATE_DIR": "/a/b", "XDG_STATE_HOME": "/x"}, "/a/b"),
        ({"ATDATA_STATE_DIR": "~/b"}, "/home/me/b"),
        ({"ATDATA_STATE_DIR": " ", "XDG_STATE_HOME": "/x"}, "/x/atdata-pipelines"),
        # Relative ones are to be ignored, says the XDG specification.
        ({"ATDATA_STATE_DIR": "", "XDG_STATE_HOME": "x"}, "/home/me/.local/state/atdata-pipelines"),
        ({"ATDATA_STATE_DIR": ""}, "/home/me/.local/state/atdata-pipelines"),
    ],
)
def test_the_state_folder_is_the_one_that_the_environment_names(monkeypatch, variables, folder):
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert state_folder() == Path(folder)


@pytest.fixture(scope="module")
def folder_of_a_module():
    """Where a fixture that is older than a test keeps things, such as what a login was told."""
    return state_file.state_folder()


def test_no_fixture_of_a_module_finds_the_state_of_the_person_who_runs_the_tests(folder_of_a_module):
    assert folder_of_a_module.name.startswith("atdata-state-")
    assert not folder_of_a_module.is_relative_to(Path.home() / ".local")


def test_what_is_written_is_read_by_others_of_the_same_identity(state_folder):
    with StateFile("kind", "who").locked() as held:
        assert held
        assert StateFile("kind", "who").write({"n": 1})
    assert StateFile("kind", "who").read() == {"n": 1}
    assert StateFile("kind", "other").read() is None
    StateFile("kind", "who").remove()
    assert StateFile("kind", "who").read() is None


def test_new_folders_are_open_to_their_owner_only(state_folder, monkeypatch):
    monkeypatch.setenv("ATDATA_STATE_DIR", str(state_folder / "new"))
    with StateFile("kind", "who").locked():
        pass
    for folder in (state_folder / "new", state_folder / "new" / "kind"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_lock_keeps_others_out_until_it_is_released():
    order = []

    def other():
        with StateFile("kind", "who").locked():
            order.append("other")

    with StateFile("kind", "who").locked():
        waiting = threading.Thread(target=other)
        waiting.start()
        waiting.join(0.1)
        order.append("first")
    waiting.join(5)
    assert order == ["first", "other"]


def test_a_lock_that_is_never_released_is_done_without_and_said(monkeypatch, caplog):
    monkeypatch.setattr(state_file, "LONGEST_HOLD", 0.05)
    state_file._warn.cache_clear()
    caplog.set_level(logging.WARNING, "atdata_core")
    with StateFile("kind", "who").locked(), StateFile("kind", "who").locked() as held:
        assert not held
    assert "held it for minutes" in caplog.text


def test_what_the_holder_raises_comes_through_and_releases_the_lock():
    with pytest.raises(PermissionError, match="mine"), StateFile("kind", "who").locked():
        raise PermissionError("mine")
    with StateFile("kind", "who").locked() as held:
        assert held


def test_what_a_killed_process_left_half_written_is_taken_away(state_folder):
    with StateFile("kind", "who").locked():
        StateFile("kind", "who").path.with_suffix(".new").write_text('{"n"')
        assert StateFile("kind", "who").write({"n": 1})
    assert StateFile("kind", "who").read() == {"n": 1}
    assert sorted(path.suffix for path in (state_folder / "kind").iterdir()) == [".json", ".lock"]


def test_a_file_is_its_owners_alone_from_its_first_byte_whatever_the_umask(state_folder, monkeypatch):
    monkeypatch.setenv("ATDATA_STATE_DIR", str(state_folder / "new"))
    modes = []
    real = os.open

    def watching(path, flags, mode=0o777, **more):
        descriptor = real(path, flags, mode, **more)
        if flags & os.O_CREAT:
            modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
            assert os.fstat(descriptor).st_size == 0
        return descriptor

    monkeypatch.setattr(os, "open", watching)
    before = os.umask(0)
    try:
        with StateFile("kind", "who").locked():
            assert StateFile("kind", "who").write({"token": "secret"})
            assert StateFile("kind", "who").write({"token": "another"})
    finally:
        os.umask(before)
    assert modes == [0o600] * 3
    left = [state_folder / "new", *(state_folder / "new").rglob("*")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in left} == {0o600, 0o700}
    assert all(stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600) for path in left)
