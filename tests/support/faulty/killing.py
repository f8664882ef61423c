"""Children that are killed at a call of theirs."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any, Literal

from faulty.children import Child, Children
from faulty.edge import Fault, Rule
from faulty.lane import Lane
from faulty.messages import Answer, Call


class KillAt(Rule):
    """Kills a child at its n-th call that ``counts``: before the service sees it, or before it answers.

    Args:
        number: From 1.
        when: ``"never"`` counts only.
        counts: Which calls; all of them by default.
    """

    def __init__(
        self, number: int, when: Literal["before", "after", "never"], counts: Callable[[Call], bool] | None = None
    ) -> None:
        self.number, self.when = number, when
        self.calls: list[Call] = []
        self._counts = counts
        self._child: Child | None = None
        self._known = threading.Event()

    def watch(self, child: Child) -> None:
        """Name the child, which may have asked already."""
        self._child = child
        self._known.set()

    def asked(self, call: Call) -> Fault | None:
        """Kill before the service sees the call."""
        if self._counts is None or self._counts(call):
            self.calls.append(call)
            if self.when == "before" and len(self.calls) == self.number:
                return self._kill()
        return None

    def answered(self, call: Call, answer: Answer | None) -> Fault | None:
        """Kill after the service acted, before it answers."""
        if self.when == "after" and self.number <= len(self.calls) and self.calls[self.number - 1] is call:
            return self._kill()
        return None

    def _kill(self) -> Fault:
        self._known.wait()
        assert self._child is not None
        os.kill(self._child.pid, signal.SIGKILL)
        return Fault.RESET


def start(children: Children, lane: Lane, rule: Rule, job: str, **arguments: Any) -> Child:
    """Start a job as a child whose calls the rule sees, and, where that kills, is told whom."""
    lane.edge.rule = rule
    child = children.start(job, lane.environ, **arguments, **lane.account)
    if isinstance(rule, KillAt):
        rule.watch(child)
    return child
