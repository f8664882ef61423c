"""Promotion of datasets through Dagster, in this process, with a word on each step as it happens."""

import logging
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from atdata_core.common.machine import machine
from atdata_core.common.plurals import number_of
from atdata_core.errors import AtdataError, EntryNotFoundError
from atdata_core.local import LocalIndex
from atdata_core.promotion.options import REQUIREMENTS
from atdata_core.samples.metadata import refuse_secrets

from ..automation.run_history import MACHINE_TAG
from ..components.dataset_promotion import promotion_definitions
from ..config.dagster_instance import open_instance, uncaptured
from ..config.partitions import add_keys
from ..config.resources import AtprotoResource, RedisResource
from ..config.run_config import PromotionConfig
from ..config.settings import DEFAULT, RECORD, STAGES, Settings
from ..display.markdown import in_terminal
from ..jobs.bulk_config import FAILED, BulkConfig, bulk_config, not_promoted
from ..jobs.promotion_jobs import BULK_JOB, JOB, run_config
from .command import Output, note, when_interrupted
from .context import unknown
from .interrupts import HANG_UP, noted
from .project import settings_of
from .screen import naming

WIDTH = max(len(stage) for stage in STAGES) + 2
_SETTINGS = {
    "telemetry": {"enabled": False},
    "python_logs": {"managed_python_loggers": ["atdata_core"], "python_log_level": "INFO"},
}
"""As in dagster.yaml."""


@dataclass
class Promoted:
    """What became of datasets: how many there were, those that were promoted, and those that were not."""

    output: Output
    total: int = 0
    names: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    succeeded: bool = True
    """False also where a run failed as a whole."""

    def add(self, name: str, record: Mapping[str, dg.MetadataValue]) -> None:
        """Tell of a dataset that has its records: ``NAME: CHANGE AT-URI``."""
        change, uri = (str(record[key].value) for key in ("change", "at_uri"))
        self.names.append(name)
        self.output.result({"name": name, "change": change, "uri": uri}, f"{name}: {change} {uri}")

    def fail(self, name: str, reason: str) -> None:
        """Tell why one has not."""
        self.failed.append(name)
        self.succeeded = False
        reason = _line(reason)
        self.output.problem(name, not_promoted(name, reason), reason)

    def __str__(self) -> str:
        of = f"{len(self.names):,} of {number_of(self.total, 'dataset')}" if self.total else "what stands above was"
        return f"{of} promoted"


def promote_all(
    names: Sequence[str] | None,
    options: Mapping[str, Any],
    *,
    instances: Sequence[Settings] = (DEFAULT,),
    verbose: bool = False,
    output: Output = Output(),  # noqa: B008 - says nothing but where to print
) -> Promoted:
    """Promote datasets, each through the instance of the pipeline that takes it.

    Several of an instance are promoted in one run, unless more is asked of them than requirements: then one by one.
    Progress goes to stderr, why one failed too; one line ``NAME: CHANGE AT-URI`` per dataset goes to stdout.

    Args:
        names: Of datasets; None: of each instance all that is missing on the network or has changed.
        options: What is asked of the promotion.
        instances: Of the pipeline.
        verbose: Whether all that Dagster logs is shown.
        output: Where results go.

    Raises:
        AtdataError: None of them can be promoted: the account or the index cannot be reached as configured.
    """
    # Dagster keeps what a run is told.
    refuse_secrets(options)
    done = Promoted(output, total=len(set(names or ())))
    when_interrupted(done.__str__)
    shares: Sequence[tuple[Settings, list[str] | None]] = [(each, None) for each in instances]
    if names is not None:
        shares = _shared_out(dict.fromkeys(names), instances, done)
    for settings, _ in shares:
        # Of a variable that is not set Dagster would tell in a stack trace.
        settings.destination.outside_of_runs()
        settings.s3.outside_of_runs()
    index = RedisResource().index()
    _log_in()
    with _instance() as instance:
        # That can be asked of several datasets that are promoted in one run.
        required = {name: options[name] for name in REQUIREMENTS if name in options}
        for settings, share in shares:
            together = share is None or (
                len(share) > 1 and PromotionConfig(**options) == PromotionConfig(**required)
            )
            if share is None or together:
                _promote_together(instance, share, required, settings, verbose, done)
            else:
                _promote_each(instance, share, options, index, settings, verbose, done)
    return done


def _shared_out(
    names: Iterable[str], instances: Sequence[Settings], done: Promoted
) -> list[tuple[Settings, list[str] | None]]:
    """The datasets that each instance takes; those that cannot be given to one have failed."""
    shares = {each.key_prefix: (each, list[str]()) for each in instances}
    for name in names:
        try:
            shares[settings_of(name, instances).key_prefix][1].append(name)
        except AtdataError as error:
            done.fail(name, error.message)
    return [(settings, share) for settings, share in shares.values() if share]


def _promote_together(
    instance: dg.DagsterInstance,
    names: Sequence[str] | None,
    required: Mapping[str, bool],
    settings: Settings,
    verbose: bool,
    done: Promoted,
) -> None:
    """All of them, or all that is due, in one run."""
    naming("promotion")
    job = _job(BULK_JOB, settings)
    config = bulk_config(BulkConfig(datasets=list(names or ()), restore=names is not None, **required), settings)
    result = _run(job, instance, _quiet(config, verbose), _Records(done, settings))
    reasons = _failed_in(result)
    done.succeeded &= result.success
    if not result.success and not reasons:
        note(f"Error: {_line(_reason(result))}")
    if names is None:
        done.total = len(done.names) + len(reasons)
    # Each was told of in the run.
    for name in reasons if names is None else (name for name in names if name not in done.names):
        done.failed.append(name)
        if done.output.as_json:
            done.output.data({"name": name, "error": reasons.get(name) or _line(_reason(result))})


def _promote_each(
    instance: dg.DagsterInstance,
    names: Sequence[str],
    options: Mapping[str, Any],
    index: LocalIndex,
    settings: Settings,
    verbose: bool,
    done: Promoted,
) -> None:
    """One run after the other."""
    job, config = _job(JOB, settings), _quiet(run_config(PromotionConfig(**options), settings), verbose)
    for name in names:
        note(name)
        naming(name)
        # Before it is a partition.
        reason = settings.refusal(name)
        try:
            if reason is None:
                index.get_entry_by_name(name)
                add_keys(instance, [name], settings)
                tags = {"dataset": name}
                result = _run(job, instance, config, _Steps(settings), partition_key=name, tags=tags)
                if result.success:
                    mark = result.asset_materializations_for_node(settings.node(RECORD))[0].metadata
                    done.add(name, mark)
                else:
                    reason = _reason(result)
        except EntryNotFoundError:
            reason = unknown(name, index).message
        except AtdataError as error:
            reason = error.message
        if reason is not None:
            done.fail(name, reason)


def _job(name: str, settings: Settings) -> dg.JobDefinition:
    return promotion_definitions(settings).resolve_job_def(settings.named(name))


def _run(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    config: dict[str, Any],
    listener: Callable[[dg.EventLogEntry], None],
    tags: Mapping[str, str] | None = None,
    **more: Any,
) -> dg.ExecuteInProcessResult:
    """Run a job; ``KeyboardInterrupt`` where that ended it."""
    run_id = str(uuid.uuid4())

    def hear(event: dg.EventLogEntry) -> None:
        step = event.dagster_event
        if step and step.is_step_failure and _is_interrupt(step.step_failure_data.error):
            # Else Dagster would take the run's end for a failure.
            run = instance.get_run_by_id(run_id)
            if run and not run.is_finished:
                instance.report_run_canceling(run)
        # A terminal that is gone takes no more words, and the run must be told to its end all the same.
        with suppress(OSError):
            listener(event)

    instance.add_event_listener(run_id, hear)
    # So that a sensor ends it where this process cannot any more.
    tags = {MACHINE_TAG: machine(), **(tags or {})}

    def note_cancelled() -> None:
        run = instance.get_run_by_id(run_id)
        if run and run.status not in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.CANCELED):
            instance.report_run_canceled(run, message="The command was interrupted.")

    with _hang_up_interrupts(), noted(note_cancelled):
        result = job.execute_in_process(
            run_config=config, instance=instance, raise_on_error=False, run_id=run_id, tags=tags, **more
        )
    if not result.success and _was_interrupted(result):
        note_cancelled()
        raise KeyboardInterrupt
    return result


@contextmanager
def _hang_up_interrupts() -> Iterator[None]:
    """A command that is hung up (its terminal is closed) or terminated ends its run as Ctrl-C does: as canceled.

    Else the process would end at once, and the run stay as one that works still. Under ``nohup`` it goes on.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ends = [each for each in HANG_UP if signal.getsignal(each) == signal.SIG_DFL]
    try:
        for each in ends:
            # Dagster takes SIGINT as it needs it: at once within a step, else before the next one.
            signal.signal(each, lambda *_: signal.raise_signal(signal.SIGINT))
        yield
    finally:
        for each in ends:
            signal.signal(each, signal.SIG_DFL)


class _Steps:
    """Prints what the stages of a run say."""

    def __init__(self, settings: Settings) -> None:
        self._stages = {settings.node(stage): stage for stage in STAGES}
        self._stage: str | None = None
        self._named = False

    def __call__(self, event: dg.EventLogEntry) -> None:
        step = event.dagster_event
        if step is None:
            if _is_for_people(event) and self._stage_of(event.step_key) == self._stage:
                self._say(in_terminal(event.user_message))
        elif step.event_type == dg.DagsterEventType.STEP_START:
            if self._stage_of(step.step_key) != self._stage:
                self._end()
                self._stage = self._stage_of(step.step_key)
                self._named = False
                naming(self._stage)
        elif step.event_type == dg.DagsterEventType.STEP_FAILURE:
            self._end()
            self._stage = None
        elif step.event_type == dg.DagsterEventType.STEP_UP_FOR_RETRY:
            retry: Any = step.event_specific_data
            self._say(f"{_root(retry.error)} Trying again.")
        elif step.event_type in (dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE):
            self._end()

    def _say(self, message: str) -> None:
        if self._stage == RECORD:
            # The at-uri is told once, as the result.
            message = message.partition(" at://")[0]
        stage = "" if self._named or self._stage is None else self._stage
        note(f"  {stage:{WIDTH}}{message}")
        self._named = True

    def _end(self) -> None:
        if self._stage is not None and not self._named:
            note(f"  {self._stage}")
        self._named = True

    def _stage_of(self, step_key: str | None) -> str:
        """The stage that a step belongs to: some are made of several steps."""
        node = str(step_key).partition(".")[0]
        return self._stages.get(node, node)


def _is_for_people(event: dg.EventLogEntry) -> bool:
    """Whether it is something that a stage says, other than what Dagster says of its inner workings."""
    if event.dagster_event is not None or event.step_key is None or event.level < logging.INFO:
        return False
    return not event.user_message.startswith("Emitting implicit Nothing")


class _Records:
    """Prints what a run of many datasets says, and a line for each that has its records."""

    def __init__(self, done: Promoted, settings: Settings) -> None:
        self._done = done
        self._key = settings.key(RECORD)

    def __call__(self, event: dg.EventLogEntry) -> None:
        step, mark = event.dagster_event, event.asset_materialization
        if mark is not None and mark.asset_key == self._key:
            self._done.add(str(mark.partition), mark.metadata)
        elif step is not None and step.event_type == dg.DagsterEventType.STEP_UP_FOR_RETRY:
            retry: Any = step.event_specific_data
            note(f"  {_root(retry.error)} Trying again.")
        elif step is None and event.step_key is not None and event.level >= logging.ERROR:
            note(f"Error: {in_terminal(_line(event.user_message))}")
        elif _is_for_people(event):
            note(f"  {in_terminal(event.user_message)}")


def _quiet(config: dict[str, Any], verbose: bool) -> dict[str, Any]:
    """A run configuration under which Dagster itself prints nothing, unless that is asked for."""
    return config if verbose else {**config, "loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@contextmanager
def _instance() -> Iterator[dg.DagsterInstance]:
    if os.environ.get("DAGSTER_HOME"):
        with open_instance() as kept, uncaptured(kept) as instance:
            yield instance
        return
    note("DAGSTER_HOME is not set: the UI will not show these runs.")
    with dg.DagsterInstance.ephemeral(settings=_SETTINGS) as instance:
        yield instance


def _log_in() -> None:
    """Find out once, not for each dataset, that an account cannot be used: a PDS counts attempts."""
    try:
        AtprotoResource().client()
    except AtdataError as error:
        if not error.transient:
            raise


def _failures(result: dg.ExecuteInProcessResult) -> Iterator[Any]:
    return (event.step_failure_data for event in result.all_events if event.is_step_failure)


def _was_interrupted(result: dg.ExecuteInProcessResult) -> bool:
    """Whether Ctrl-C ended the run, in a stage or between two attempts."""
    return any(map(_is_interrupt, [each.error for each in _failures(result)] + _run_errors(result)))


def _is_interrupt(error: Any) -> bool:
    while error is not None:
        if error.cls_name in ("DagsterExecutionInterruptedError", "KeyboardInterrupt"):
            return True
        error = error.cause
    return False


def _failed_in(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """Those of a run of many that failed, with the reason; none where something failed for all."""
    found: dict[str, str] = {}
    for failure in (each.user_failure_data for each in _failures(result)):
        if failure is not None and isinstance(table := failure.metadata.get(FAILED), dg.TableMetadataValue):
            found |= {str(row.data["dataset"]): str(row.data["reason"]) for row in table.records}
    return found


def _reason(result: dg.ExecuteInProcessResult) -> str:
    for failure in _failures(result):
        said = failure.user_failure_data
        return said.description if said and said.description else _root(failure.error)
    return _root(next(reversed(_run_errors(result)), None))


def _run_errors(result: dg.ExecuteInProcessResult) -> list[Any]:
    failed = [event for event in result.all_events if event.event_type == dg.DagsterEventType.RUN_FAILURE]
    return [event.job_failure_data.error for event in failed]


def _root(error: Any) -> str:
    """The message of the error that began it, without the name of its class."""
    while error is not None and error.cause is not None:
        error = error.cause
    if error is None:
        return "the run failed"
    return error.message.partition(": ")[2].strip() or error.message.strip()


def _line(message: str) -> str:
    return " ".join(message.split())
