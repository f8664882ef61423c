"""When a service may be asked again."""

import logging
import threading
import time
from email.utils import formatdate

import pytest

from atdata_core.common import retry_after as patience
from atdata_core.common.retry_after import Gate, RetryAfter, seconds_to_wait, service_of, with_retries
from atdata_core.errors import RateLimitedError, ServiceRefusedError, ServiceUnavailableError

SERVICE = "https://pds.example"
GATE = Gate(SERVICE)


def down(retry_after=None):
    return ServiceUnavailableError("down", service=SERVICE, status=503, retry_after=retry_after)


class Failing:
    """Raises the errors given, one after the other, then answers."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.calls = 0

    def __call__(self):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


def test_what_can_pass_is_tried_four_times_with_longer_and_longer_pauses(time_passes):
    act = Failing(down(), down(), down())
    assert with_retries(act) == "answer"
    first, second, third = time_passes.slept
    assert 0.125 <= first <= 0.25 <= second <= 0.5 <= third <= 1


def test_a_failure_that_lasts_is_raised_after_the_fourth_attempt():
    act = Failing(*[down() for _ in range(9)])
    with pytest.raises(ServiceUnavailableError):
        with_retries(act)
    assert act.calls == 4


@pytest.mark.parametrize(
    "error",
    [
        ServiceRefusedError("no", service=SERVICE, status=400, error="InvalidRequest"),
        down(retry_after=61),
        RateLimitedError("later", service=SERVICE, status=429, retry_after=3600),
        ZeroDivisionError(),
    ],
)
def test_what_does_not_pass_soon_is_raised_at_once(error, time_passes):
    act = Failing(error)
    with pytest.raises(type(error)):
        with_retries(act)
    assert (act.calls, time_passes.slept) == (1, [])


def test_a_closed_gate_is_waited_for_and_only_at_that_service(time_passes):
    gates = RetryAfter(time_passes.clock, time_passes.sleep)
    gates.hold(GATE, 30, 429)
    gates.hold(GATE, 5, 503)  # it never gets shorter
    gates.wait(Gate("https://other.example"))
    assert time_passes.slept == []
    gates.wait(GATE)
    assert sum(time_passes.slept) == pytest.approx(30)
    gates.wait(GATE)
    assert sum(time_passes.slept) == pytest.approx(30)


def test_a_gate_that_stays_closed_for_long_is_told_at_once(time_passes):
    gates = RetryAfter(time_passes.clock, time_passes.sleep)
    gates.hold(GATE, 300, 429)
    with pytest.raises(RateLimitedError, match=r"pds\.example .* another 300 s") as caught:
        gates.wait(GATE)
    assert (caught.value.status, caught.value.retry_after, time_passes.slept) == (429, pytest.approx(300), [])
    time_passes.sleep(250)
    gates.wait(GATE)
    assert sum(time_passes.slept) == pytest.approx(300)


def test_every_thread_waits_until_the_gate_opens():
    gates = RetryAfter()
    gates.hold(GATE, 0.2, 429)
    opens = time.monotonic() + 0.2
    passed = []

    def go():
        gates.wait(GATE)
        passed.append(time.monotonic())

    threads = [threading.Thread(target=go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == 8
    assert min(passed) >= opens - 0.01


def test_a_gate_that_closes_again_while_it_is_waited_for_is_waited_for_again(time_passes):
    gates = RetryAfter(
        time_passes.clock, lambda seconds: (time_passes.sleep(seconds), closings and closings.pop()())
    )
    closings = [lambda: gates.hold(GATE, 20, 429)]
    gates.hold(GATE, 10, 429)
    gates.wait(GATE)
    assert time_passes.slept == pytest.approx([10, 20])


def test_a_long_wait_is_logged_once_with_what_how_long_and_why(time_passes, caplog):
    gates = RetryAfter(time_passes.clock, time_passes.sleep)
    with caplog.at_level(logging.WARNING, "atdata_core"):
        gates.hold(GATE, 2, 429)
        gates.wait(GATE)
        assert caplog.messages == []
        gates.hold(GATE, 17, 503)
        gates.wait(GATE)
        gates.wait(GATE)
    assert caplog.messages == [
        "https://pds.example asked to be left alone (503): waiting 17 s before the next request to it."
    ]


NOON = "Sun, 06 Nov 2044 12:00:00 GMT"
SOON = "Sun, 06 Nov 2044 12:00:30 GMT"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": " 0 "}, 0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "9" * 400}, 86_400),
        ({"retry-after": SOON, "date": NOON}, 30),
        ({"retry-after": NOON, "date": SOON}, 0),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0),
        ({"retry-after": "Fri, 31 Dec 99999 23:59:59 GMT"}, None),
        ({"retry-after": "soon", "ratelimit-reset": "2362046430", "date": NOON}, 30),
        ({"ratelimit-reset": "later"}, None),
        ({"retry-after": "7", "ratelimit-reset": "2362046430", "date": NOON}, 7),
    ],
)
def test_the_time_to_wait_is_read_from_seconds_dates_and_resets(headers, seconds):
    assert seconds_to_wait(headers) == seconds


@pytest.mark.parametrize("name", ["retry-after", "ratelimit-reset"])
def test_without_a_time_of_the_service_its_dates_are_held_against_the_clock_here(name):
    then = time.time() + 500
    asked = formatdate(then, usegmt=True) if name == "retry-after" else str(int(then))
    assert seconds_to_wait({name: asked}) == pytest.approx(500, abs=5)


def test_a_service_is_its_scheme_host_and_port():
    for url in ("https://PDS.example/xrpc/a?b=c", "https://pds.example:443", "https://u:p@pds.example/x"):
        assert service_of(url) == SERVICE
    assert service_of("http://[::1]:9000/a") == "http://[::1]:9000"
    assert service_of("http://pds.example") != SERVICE


def test_only_answers_that_ask_to_wait_close_a_gate(time_passes):
    for status in (200, 400, 500):
        patience.note_answer(GATE, status, {"retry-after": "9"})
    patience.note_answer(GATE, 429, {})
    patience.ours.wait(GATE)
    assert time_passes.slept == []
    patience.note_answer(GATE, 503, {"retry-after": "9"})
    patience.ours.wait(GATE)
    assert sum(time_passes.slept) == pytest.approx(9)
