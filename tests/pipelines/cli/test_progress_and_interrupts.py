"""What a person sees at a terminal while something takes long, and how Ctrl-C ends it."""

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time

import dagster as dg
import pytest

from atdata_pipelines.cli import screen
from atdata_pipelines.cli.command import Output
from atdata_pipelines.config.dagster_instance import prepare_home
from atdata_pipelines.display.progress import Transfers

SOON = 2.0
"""Seconds from Ctrl-C to the command's end: one is promised, and another may pass where tests share the cores."""

SLOW = """
import sys, time
from atdata_pipelines.cli import main
from atdata_core.common import byte_progress as told, concurrency
concurrency.THREADS = 8  # else all shards of a test are read at once
whole = told._Counted.read
def slowly(self, size=-1):
    print("reading", file=sys.stderr, flush=True) if {pause} > 60 else None
    time.sleep({pause})
    return whole(self, min(size, 4096) if size > 0 else 4096)
told._Counted.read = slowly
main(prog_name="atdata-pipelines")
"""


def unread(lab, entry):
    """Nobody knows what the shards hold: they are to be read."""
    lab.index.redis.delete(f"atdata:shards:{entry.cid}")


def start(words, pause, cwd, **streams):
    return subprocess.Popen(
        [sys.executable, "-c", SLOW.format(pause=pause), *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path), "TERM": "xterm", "COLUMNS": "120"},
        **{"preexec_fn": heed_interrupts, **streams},
    )


def heed_interrupts():
    # What a shell starts in the background ignores them, and so would what that starts.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def children_of(pid):
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    return {int(child) for child, parent in map(str.split, listed.splitlines()) if int(parent) == pid}


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def read_terminal(master, until, seconds=90):
    """What a terminal was sent, up to what is waited for."""
    text, end = "", time.monotonic() + seconds
    while until not in text:
        assert time.monotonic() < end, text
        if select.select([master], [], [], 0.5)[0]:
            try:
                text += os.read(master, 65536).decode(errors="replace")
            except OSError:
                break
    return text


@pytest.mark.slow
def test_a_terminal_shows_bytes_rate_and_time_left_until_ctrl_c_ends_it_within_a_second(lab, command, tmp_path):
    # Long: a process of its own, that is slow on purpose.
    unread(lab, lab.insert("pictures", labels=(1,) * 60))
    master, terminal = pty.openpty()
    process = start(["promote", "pictures"], 0.4, tmp_path, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = read_terminal(master, " left")
    assert re.search(
        r"\d+ of 20 shards looked at .* kB of .* kB, .*/s, \d+ s left", re.sub(r"\x1b\[[\d;?]*\w", "", shown)
    )
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    said = read_terminal(master, "atdata-pipelines promote pictures\r\n")
    assert process.wait(timeout=30) == 130
    took = time.monotonic() - began
    os.close(master)
    assert "Interrupted: 0 of 1 dataset promoted. Nothing is half published. Run it again" in said
    assert "Traceback" not in said
    assert took < SOON
    assert command("promote", "pictures").exit_code == 0


@pytest.mark.slow
def test_with_dagster_home_a_terminal_shows_progress_of_steps_and_ctrl_c_leaves_it_whole(
    lab, tmp_path, monkeypatch
):
    # Long: a process of its own, that is slow on purpose, with runs kept on disk as in the sandbox.
    home = prepare_home(tmp_path / "dagster_home")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    unread(lab, lab.insert("pictures", labels=(1,) * 60))
    master, terminal = pty.openpty()
    # A session of its own, so that Ctrl-C reaches every process that has this terminal, as at a person's.
    process = start(
        ["promote", "pictures"],
        0.4,
        tmp_path,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        preexec_fn=lambda: (heed_interrupts(), os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0)),
    )
    os.close(terminal)
    shown = read_terminal(master, " left")
    # It goes on.
    shown += read_terminal(master, " left")
    assert re.search(r"\d+ of 20 shards looked at", shown)
    began = time.monotonic()
    os.write(master, b"\x03")
    said = read_terminal(master, "\0", seconds=30)
    assert process.wait(timeout=30) == 130
    took = time.monotonic() - began
    os.close(master)
    whole = shown + said
    assert "Interrupted: 0 of 1 dataset promoted. Nothing is half published. Run it again" in said
    assert said.rstrip().endswith("atdata-pipelines promote pictures")
    assert "Traceback" not in whole
    assert whole.rindex("\x1b[?25h") > whole.rindex("\x1b[?25l")
    assert took < SOON
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.CANCELED]


@pytest.mark.slow
@pytest.mark.parametrize("words", [["promote", "pictures"], ["plan", "pictures"], ["accept", "pictures"]])
def test_ctrl_c_ends_a_command_that_waits_for_a_silent_service(lab, words, tmp_path):
    # Long: a process of its own waits for an answer that never comes.
    unread(lab, lab.insert("pictures"))
    process = start(words, 3600, tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while (line := process.stderr.readline()) and not line.startswith("reading"):
        pass
    assert process.poll() is None
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    took = time.monotonic() - began
    assert (process.returncode, out) == (130, "")
    assert err.splitlines()[-1] == f"  atdata-pipelines {' '.join(words)}"
    assert err.splitlines()[-2].startswith("Interrupted")
    assert "Traceback" not in err
    assert took < SOON


ASLEEP = """
import signal, threading, time
from atdata_pipelines.cli.command import command

@command("sleep")
def sleep():
    signal.signal(signal.{name}, signal.default_int_handler)
    def end():
        time.sleep(0.2)
        # To this thread, as the kernel may choose: the main one sleeps on.
        signal.pthread_kill(threading.get_ident(), signal.{name})
    threading.Thread(target=end).start()
    time.sleep(60)

sleep()
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP", "SIGTERM"])
def test_a_signal_that_does_not_wake_the_main_thread_ends_the_command_all_the_same(name):
    environ = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    script = ASLEEP.format(name=name)
    ended = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 130
    assert ended.stderr.startswith("\nInterrupted.")


def test_nothing_is_shown_where_stderr_is_no_terminal(lab, command, monkeypatch):
    monkeypatch.setattr(screen, "AFTER", 0.0)
    lab.insert("pictures")
    result = command("promote", "pictures")
    assert "\x1b" not in result.output
    assert "left" not in result.stderr


def test_the_display_gives_way_to_lines_and_questions(monkeypatch, capsys):
    monkeypatch.setattr(screen, "AFTER", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with screen.showing("verify") as shown:
        tell = shown.begin("shards read")
        tell(1, 4)
        tell.passed("s3://bucket/a/0.tar", 500_000, 1_000_000)
        end = time.monotonic() + 20
        while shown._live is None:
            assert time.monotonic() < end
            time.sleep(0.01)
        rows = shown._rows()
        screen.echo("a line")
        assert shown._live is not None
        with screen.aside():
            assert shown._live is None
    assert shown._live is None
    cells = [[*column.cells] for column in rows.columns]
    assert cells[0] == ["1 of 4 shards read", "  0.tar"]
    assert cells[2][1] == "500 kB of 1.0 MB"
    assert "a line\n" in capsys.readouterr().out


def test_one_shard_is_told_in_the_singular(monkeypatch):
    told = Transfers("shards of pictures looked at")
    told(1, 1)
    assert str(told) == "1 of 1 shard of pictures looked at"
    told(1, 2)
    assert str(told) == "1 of 2 shards of pictures looked at"


def test_the_time_of_a_command_goes_on_when_progress_of_it_begins(monkeypatch):
    shown = screen.Screen("add")
    monkeypatch.setattr(shown, "_began", shown._began - 9)
    shown.begin("tars stored")
    [cells] = [[*column.cells] for column in shown._rows().columns]
    assert cells == ["add, 9 s"]


def test_the_display_gives_way_once_to_many_lines(monkeypatch, capsys):
    with screen.showing("status") as shown:
        stopped = []
        monkeypatch.setattr(shown, "_live", shown)
        monkeypatch.setattr(shown, "stop", lambda: stopped.append(1), raising=False)
        monkeypatch.setattr(shown, "_start", lambda: monkeypatch.setattr(shown, "_live", shown))
        Output().line("one", "two", "three")
    assert capsys.readouterr().out == "one\ntwo\nthree\n"
    assert stopped == [1, 1]


@pytest.mark.slow
def test_the_sandbox_shows_what_it_does_while_it_starts_and_ctrl_c_ends_all_of_it_within_a_second(tmp_path):
    # Long: a sandbox of its own.
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "atdata_pipelines", "sandbox", "--path", str(tmp_path / "box")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path), "TERM": "xterm", "COLUMNS": "120"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        preexec_fn=heed_interrupts,
    )
    os.close(terminal)
    began = time.monotonic()
    said = read_terminal(master, "# Running. Ctrl-C stops it.")
    quick = time.monotonic() - began < 2
    guards = children_of(process.pid)
    services = {service for guard in guards for service in children_of(guard)}
    assert (len(guards), len(services)) == (1, 4)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert time.monotonic() - began < SOON
    assert not any(is_there(pid) for pid in guards | services)
    os.close(master)
    steps = "starting Redis, S3 and the PDS|making the folder in which Dagster keeps runs"
    assert quick or re.search(rf"({steps}), \d+ s", said)
    assert "export ATDATA_BUCKET=lab" in said
