"""A scheduler that a test plays, and the events of its jobs: for tests of single steps of a controller."""

import threading

import pytest

from aiperf_orch.controller import controller as controller_module
from aiperf_orch.schedulers.base import CancelResult, JobState, JobStatus, SubmitResult

DEADLINE = 60  # seconds


class Scheduler:
    """Accepts all jobs, which run until they are cancelled; `calls` lists submissions and cancellations."""

    nonblocking, query_interval, lookahead, avoids_nodes, announces_jobs = True, 0.0, 0, True, False
    has_queue = True
    early_log, max_cancels_per_call = "log", None

    def __init__(self):
        self.ended = set()  # names that the queue lists as ended
        self.calls, self.listed, self.known, self.limit, self.never_starts = [], True, {}, 1, True
        self.submit_result = lambda requests: SubmitResult(jobs={request.name: "7" for request in requests})

    def hold(self, generation):
        pass

    def free_places(self):
        return None

    def take_news(self):
        return ()

    def gone_jobs(self):
        return ()

    def submit(self, requests):
        self.calls += [("submit", request.name.split("-", 1)[1]) for request in requests]
        return self.submit_result(requests)

    def array_limit(self):
        return self.limit

    def release_resources(self, names):
        pass

    def query(self, names):
        states = {name: JobState.ENDED if name in self.ended else JobState.RUNNING for name in names if self.listed}
        return {name: JobStatus(name, "7", state, running_for=1.0) for name, state in states.items()}

    def query_unlisted(self, jobs):
        return {name: self.known for name in jobs if self.known}

    def cancel(self, jobs, *, force):
        self.calls += [("kill" if force else "cancel", name.split("-", 1)[1]) for name in jobs]
        return CancelResult(never_started=list(jobs) if self.never_starts else [])


class SlowScheduler(Scheduler):
    """Answers calls of one kind when the test sets `go_on`, and all others at once."""

    nonblocking = False

    def __init__(self):
        super().__init__()
        self.go_on, self.began, self.slow_call = threading.Event(), threading.Event(), "submit"

    def submit(self, requests):
        self.answer("submit")
        return super().submit(requests)

    def array_limit(self):
        self.answer("array_limit")
        return super().array_limit()

    def query(self, names):
        self.answer("query")
        return super().query(names)

    def cancel(self, jobs, *, force):
        self.answer("cancel")
        return super().cancel(jobs, force=force)

    def answer(self, call):
        if call == self.slow_call:
            self.began.set()
            assert self.go_on.wait(DEADLINE), "the test did not let the call end"


def write_events(controller, *, trial=0, begin=0, epochs=(), end=None, lines=()):
    """Write the events file of the first run: seconds of the begin, of the ends of epochs, and why it ended."""
    made, state = controller.builder, controller.state.trials[trial]
    operations = state.proposal.operations
    events = [made.begin(begin, trial, spec_sha256=state.spec_sha256, job="7")]
    events += [made.epoch(number, each, trial=trial, operations=operations) for number, each in enumerate(epochs, 1)]
    if end is not None:
        success = {"best_error": 0.5, "best_epoch": 1} if end == "COMPLETED" else {}
        events.append(made.end(max([begin, *epochs]), trial, reason=end, **success))
    made.events(*events, *lines, trial=trial)


def ends(controller):
    return [(end.trial, end.attempt, end.reason.value, end.final) for end in controller.state.ends]


def step_until(controller, condition, **options):
    """Step until a condition holds."""
    for _ in range(500):
        phase = controller.step(**options)
        if condition():
            return phase
        controller.wait(0.01)
    pytest.fail("not within 500 steps of 10 ms")


def answer_while_waiting(controller, slow, monkeypatch):
    """Let a slow scheduler answer only once the controller waits for it."""
    wait = controller.wait
    monkeypatch.setattr(controller, "wait", lambda seconds: slow.go_on.set() or wait(seconds))


def fail_once(monkeypatch, name, error, module=controller_module):
    """Let the next call of a function of a module fail."""
    real, errors = getattr(module, name), [error]

    def call(*arguments, **options):
        if errors:
            raise errors.pop()
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, call)
