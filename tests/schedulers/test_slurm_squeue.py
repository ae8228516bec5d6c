"""Parsers of squeue, sacct and scontrol, and the commands that they belong to."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aiperf_orch.records.base import EndReason
from aiperf_orch.schedulers.base import AccountedJob, JobEnd, JobState, JobStatus
from aiperf_orch.schedulers.slurm import squeue
from aiperf_orch.schedulers.slurm.squeue import QueueRow

pytestmark = pytest.mark.unit

# output of squeue for %i|%F|%K|%T|%M|%r|%N|%j
SQUEUE = """\
CLUSTER: lab
12|12|N/A|RUNNING|1:02:03|None|n1|qk3f9-00000-01
17|13|4|RUNNING|5:07|None|n[2-3]|qk3f9-w00001
13_5|13|5|PENDING|0:00|Resources||qk3f9-w00001
14|14|N/A|COMPLETED|2-03:04:05|None|n1|a|name|with bars
slurm_load_jobs error: something
"""


def row(state: str, *, job: str = "12", name: str = "mine", reason: str = "None") -> str:
    return f"{job}|{job}|N/A|{state}|5:07|{reason}|n1|{name}\n"


def statuses(output: str, *names: str) -> dict[str, JobStatus]:
    return squeue.statuses(list(squeue.parse_squeue(output)), names)


def test_rows_of_squeue() -> None:
    assert list(squeue.parse_squeue(SQUEUE)) == [
        QueueRow("qk3f9-00000-01", "12", "RUNNING", 3723.0, "None", "n1"),
        QueueRow("qk3f9-w00001[4]", "13_4", "RUNNING", 307.0, "None", "n[2-3]"),
        QueueRow("qk3f9-w00001[5]", "13_5", "PENDING", 0.0, "Resources", ""),
        QueueRow("a|name|with bars", "14", "COMPLETED", 183845.0, "None", "n1"),
    ]


def test_only_jobs_with_the_requested_names_are_returned() -> None:
    found = statuses(SQUEUE, "qk3f9-00000-01", "qk3f9-w00001[5]", "qk3f9-w00001[6]", "a")
    assert found == {
        "qk3f9-00000-01": JobStatus("qk3f9-00000-01", "12", JobState.RUNNING, "", running_for=3723.0),
        "qk3f9-w00001[5]": JobStatus(
            "qk3f9-w00001[5]", "13_5", JobState.PENDING, "Resources: waits for nodes to become free"
        ),
    }


def test_the_sets_of_states_are_disjoint() -> None:
    assert not squeue.PENDING & squeue.RUNNING
    assert not (squeue.PENDING | squeue.RUNNING) & squeue.ENDED.keys()


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        *((state, JobState.PENDING) for state in sorted(squeue.PENDING)),
        *((state, JobState.RUNNING) for state in sorted(squeue.RUNNING)),
        *((state, JobState.ENDED) for state in sorted(squeue.ENDED)),
        ("OF_A_LATER_SLURM", JobState.RUNNING),  # an unknown state is not an end
        ("", JobState.RUNNING),
    ],
)
def test_states_of_squeue(state: str, kind: JobState) -> None:
    assert statuses(row(state), "mine")["mine"].state is kind
    assert (squeue.end_of(state, "1:0", "", ()) is None) is (kind is not JobState.ENDED)


@pytest.mark.parametrize(
    ("state", "reason", "stuck"),
    [
        ("PENDING", "Priority", False),
        ("PENDING", "DependencyNeverSatisfied", True),
        ("PENDING", "launch failed requeued held", True),
        ("REQUEUE_HOLD", "None", True),
        ("SPECIAL_EXIT", "None", True),
        ("REQUEUED", "None", False),
        ("RUNNING", "JobHoldMaxRequeue", False),
    ],
)
def test_stuck_jobs(state: str, reason: str, stuck: bool) -> None:
    status = statuses(row(state, reason=reason), "mine")["mine"]
    assert (status.stuck, status.final) == (stuck, stuck)


@pytest.mark.parametrize(
    ("state", "detail", "suspended"),
    [
        ("RUNNING", "", False),
        ("COMPLETING", "COMPLETING", False),
        ("SUSPENDED", "SUSPENDED", True),
        ("STOPPED", "STOPPED", True),
    ],
)
def test_details_of_started_jobs(state: str, detail: str, suspended: bool) -> None:
    status = statuses(row(state), "mine")["mine"]
    assert (status.detail, status.suspended, status.running_for) == (detail, suspended, 307.0)


@pytest.mark.parametrize(
    "output",
    [
        row("COMPLETED", job="12") + row("RUNNING", job="13"),
        row("RUNNING", job="13") + row("COMPLETED", job="12"),
        row("TIMEOUT", job="11") + row("RUNNING", job="13") + row("NODE_FAIL", job="12"),
    ],
)
def test_the_live_one_of_two_jobs_with_one_name_counts(output: str) -> None:
    found = statuses(output, "mine")["mine"]
    assert (found.job, found.state) == ("13", JobState.RUNNING)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0:00", 0.0),
        ("5:07", 307.0),
        ("59:59", 3599.0),
        ("1:02:03", 3723.0),
        ("2-03:04:05", 183845.0),
        ("INVALID", None),
        ("UNLIMITED", None),
        ("5", None),
        ("-1:00", None),
        ("1:2:3:4", None),
        ("", None),
    ],
)
def test_elapsed_times(text: str, seconds: float | None) -> None:
    assert squeue.parse_elapsed(text) == seconds


@pytest.mark.parametrize(
    ("seconds", "limit"),
    [
        (1, "0-00:01:00"),
        (60, "0-00:01:00"),
        (60.2, "0-00:01:01"),
        (4 * 3600, "0-04:00:00"),
        (86400, "1-00:00:00"),
        (183845, "2-03:04:05"),
    ],
)
def test_time_limits(seconds: float, limit: str) -> None:
    assert squeue.format_limit(seconds) == limit


@given(st.integers(min_value=60, max_value=10**8))
@settings(deadline=None)
def test_a_time_limit_is_parsed_back(seconds: int) -> None:
    assert squeue.parse_elapsed(squeue.format_limit(seconds)) == seconds


@pytest.mark.parametrize(
    ("output", "end"),
    [
        (
            "12|FAILED|1:0|n[1-2]\n12.batch|FAILED|1:0|n1\n12.0|OUT_OF_MEMORY|0:125|n[1-2]\n",
            JobEnd(EndReason.OUT_OF_MEMORY, "a step ran out of memory", ("n1", "n2")),
        ),
        (
            "12|FAILED|1:0|n1\n12.0|FAILED|0:125|n1\n",
            JobEnd(EndReason.OUT_OF_MEMORY, "a step ran out of memory", ("n1",)),
        ),
        (
            "12|FAILED|1:0|n1\n12.0|OUT_OF_MEMORY|0:9|n1\n",
            JobEnd(EndReason.OUT_OF_MEMORY, "a step ran out of memory", ("n1",)),
        ),
        (
            "12.0|OUT_OF_MEMORY|0:125|n1\n12|FAILED|1:0|n1\n",
            JobEnd(EndReason.OUT_OF_MEMORY, "a step ran out of memory", ("n1",)),
        ),
        (
            "12|OUT_OF_MEMORY|0:125|n1\n",
            JobEnd(EndReason.OUT_OF_MEMORY, "a step ran out of memory", ("n1",)),
        ),
        ("12|CANCELLED by 0|0:0|n1\n", JobEnd(EndReason.CANCELLED, "CANCELLED by 0", ("n1",))),
        ("12|CANCELLED|0:15|None assigned\n", JobEnd(EndReason.CANCELLED, "CANCELLED")),
        (
            "12|TIMEOUT|0:0|n1\n12.batch|CANCELLED|0:15|n1\n",
            JobEnd(EndReason.TIME_LIMIT, "TIMEOUT", ("n1",)),
        ),
        ("12|DEADLINE|0:0|n1\n", JobEnd(EndReason.TIME_LIMIT, "DEADLINE", ("n1",))),
        ("12|NODE_FAIL|1:0|n1\n", JobEnd(EndReason.NODE_FAILURE, "NODE_FAIL", ("n1",))),
        ("12|BOOT_FAIL|1:0|n1\n", JobEnd(EndReason.NODE_FAILURE, "BOOT_FAIL", ("n1",))),
        ("12|PREEMPTED|0:0|n1\n", JobEnd(EndReason.PREEMPTED, "PREEMPTED", ("n1",))),
        ("12|FAILED|3:0|n1\n", JobEnd(EndReason.TRIAL_ERROR, "FAILED, exit status 3", ("n1",))),
        ("12|FAILED|255:0|n1\n", JobEnd(EndReason.TRIAL_ERROR, "FAILED, exit status 255", ("n1",))),
        ("12|FAILED|128:0|n1\n", JobEnd(EndReason.TRIAL_ERROR, "FAILED, exit status 128", ("n1",))),
        ("12|FAILED|129:0|n1\n", JobEnd(None, "FAILED, ended by signal 1", ("n1",))),
        ("12|FAILED|192:0|n1\n", JobEnd(None, "FAILED, ended by signal 64", ("n1",))),
        ("12|FAILED|193:0|n1\n", JobEnd(EndReason.TRIAL_ERROR, "FAILED, exit status 193", ("n1",))),
        ("12|FAILED|0:0|n1\n12.0|COMPLETED|0:0|n1\n", JobEnd(EndReason.TRIAL_ERROR, "FAILED, exit status 0", ("n1",))),
        ("12|FAILED|137:0|n1\n", JobEnd(None, "FAILED, ended by signal 9", ("n1",))),
        ("12|FAILED|0:9|n1\n", JobEnd(None, "FAILED, ended by signal 9", ("n1",))),
        # a killed task, and a script that ended with 9
        (
            "12|FAILED|9:0|n1\n12.batch|FAILED|9:0|n1\n12.0|CANCELLED|0:9|n1\n",
            JobEnd(None, "FAILED, ended by signal 9", ("n1",)),
        ),
        (
            "12|FAILED|9:0|n1\n12.batch|FAILED|9:0|n1\n12.0|FAILED|9:0|n1\n",
            JobEnd(EndReason.TRIAL_ERROR, "FAILED, exit status 9", ("n1",)),
        ),
        (
            "12|COMPLETED|0:0|n1\n",
            JobEnd(None, "COMPLETED", ("n1",)),
        ),  # exit status 0 is no success without the trial's end event
    ],
)
def test_end_of_a_job_by_sacct(output: str, end: JobEnd) -> None:
    assert squeue.parse_sacct(output.replace("\n", "|mine\n")) == {("mine", "12"): end}


def test_a_job_that_failed_without_an_exit_code_ended_by_an_error() -> None:
    end = squeue.end_of("FAILED", "", "n1", ())
    assert end is not None
    assert end.reason is EndReason.TRIAL_ERROR


def test_sacct_of_several_jobs() -> None:
    output = (
        "sacct: warning: rubbish\n12_4|TIMEOUT|0:0|n1|w\n12_4.batch|CANCELLED|0:15|n1|batch\n12_5|RUNNING|0:0|n2|w\n"
        "12_5.0|OUT_OF_MEMORY|0:125|n2|bash\n13|PENDING|0:0|None assigned|x\n14|FAILED|3:0|n1|a|b\n15||0:0||x\n"
        "sacct: error: rubbish\n"
    )
    assert {job: end.reason for job, end in squeue.parse_sacct(output).items()} == {
        ("w[4]", "12_4"): EndReason.TIME_LIMIT,
        ("a|b", "14"): EndReason.TRIAL_ERROR,
    }


def test_elements_of_an_array_that_were_cancelled_while_pending() -> None:
    cancelled = JobEnd(EndReason.CANCELLED, "CANCELLED by 0")
    found = squeue.parse_sacct("13_4|TIMEOUT|0:0|n1|w\n13_[5-6,9%2]|CANCELLED by 0|0:0|None assigned|w\n")
    elements = [("w[5]", "13_5"), ("w[6]", "13_6"), ("w[9]", "13_9")]
    assert {job: end for job, end in found.items() if job[1] != "13_4"} == dict.fromkeys(elements, cancelled)
    line = "JobId=13 ArrayJobId=13 ArrayTaskId=5-6,9%2 ArrayTaskThrottle=2 JobName=w JobState=CANCELLED ExitCode=0:0"
    assert list(squeue.parse_scontrol(line)) == elements
    assert "--jobs=13,14" in squeue.sacct_command(["13_5", "13_6", "14"], None)


def test_a_record_with_a_malformed_list_of_elements_keeps_its_id() -> None:
    assert list(squeue.parse_sacct("13_[5-|TIMEOUT|0:0|n1|w\n")) == [("w", "13_[5-")]


def test_a_job_by_scontrol_needs_an_id_a_name_and_a_state() -> None:
    fields = ["JobId=12", "JobName=mine", "JobState=RUNNING"]
    assert list(squeue.parse_scontrol(" ".join(fields))) == [("mine", "12")]
    for missing in fields:
        assert squeue.parse_scontrol(" ".join(each for each in fields if each != missing)) == {}


def test_long_lists_of_elements_are_requested_complete() -> None:
    """Without the variable Slurm cuts an array's list after 64 characters."""
    for command in (squeue.sacct_command(["13_5"], None), squeue.scontrol_command(None, None)):
        assert command[:2] == ["env", "SLURM_BITSTR_LEN=0"]


def test_jobs_in_hidden_partitions_are_requested() -> None:
    for command in (
        squeue.squeue_command(1000, None),
        squeue.scontrol_command("12", None),
        squeue.scontrol_command(None, "x"),
    ):
        assert "--all" in command


JOB_HELD = "held by a user: `scontrol release` releases it"
SCONTROL = (
    "JobId=20 JobName=x\n"
    "JobId=12 JobName=qk3f9-00000-01 UserId=me(1000) JobState=TIMEOUT Reason=TimeLimit ExitCode=0:0 "
    "ReqNodeList=(null) ExcNodeList=n9 NodeList=n[1-2] BatchHost=n1\n"
    "JobId=17 ArrayJobId=13 ArrayTaskId=4 JobName=qk3f9-w00001 JobState=FAILED Reason=NonZeroExitCode ExitCode=3:0 "
    "NodeList=n3\n"
    "JobId=13 ArrayJobId=13 ArrayTaskId=5-9 JobName=qk3f9-w00001 JobState=PENDING Reason=JobHeldUser ExitCode=0:0 "
    "RunTime=00:00:00 NodeList=(null)\n"
    "JobId=18 JobName=x JobState=CANCELLED ExitCode=0:15 ReqNodeList=n7 ExcNodeList=(null) NodeList=(null)\n"
    "JobId=19 JobName=x JobState=RUNNING Reason=None ExitCode=0:0 RunTime=01:02:03 NodeList=n1\n"
    "No jobs in the system\n"
)


def test_live_and_ended_jobs_by_scontrol() -> None:
    waits = {
        (f"qk3f9-w00001[{index}]", f"13_{index}"): JobStatus(
            f"qk3f9-w00001[{index}]", f"13_{index}", JobState.PENDING, "JobHeldUser: " + JOB_HELD
        )
        for index in range(5, 10)
    }
    assert squeue.parse_scontrol(SCONTROL) == waits | {
        ("qk3f9-00000-01", "12"): JobEnd(EndReason.TIME_LIMIT, "TIMEOUT", ("n1", "n2")),
        ("qk3f9-w00001[4]", "13_4"): JobEnd(EndReason.TRIAL_ERROR, "FAILED, exit status 3", ("n3",)),
        ("x", "18"): JobEnd(EndReason.CANCELLED, "CANCELLED"),
        ("x", "19"): JobStatus("x", "19", JobState.RUNNING, "", running_for=3723.0),
    }


@pytest.mark.parametrize("state", sorted(squeue.PENDING | squeue.RUNNING | {"OF_A_LATER_SLURM"}))
def test_a_job_in_any_other_state_has_not_ended(state: str) -> None:
    known = squeue.parse_scontrol(f"JobId=12 JobName=mine JobState={state} Reason=None ExitCode=0:0")
    assert isinstance(known["mine", "12"], JobStatus)


def test_a_users_comment_is_not_parsed() -> None:
    line = "JobId=12 JobName=mine JobState=RUNNING NodeList=n1 Comment=see JobState=FAILED NodeList=n9"
    assert isinstance(squeue.parse_scontrol(line)["mine", "12"], JobStatus)


@pytest.mark.parametrize(
    ("message", "unknown"),
    [
        ("slurm_load_jobs error: Invalid job id specified", True),
        ("Job 15_7 not found", True),
        ("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", False),
        ("scontrol: error: Munge encode failed: Failed to access", False),
        ("", False),
    ],
)
def test_messages_of_scontrol_about_an_unknown_job(message: str, unknown: bool) -> None:
    assert squeue.is_unknown_job(message) is unknown


def test_reasons_of_scancel() -> None:
    message = (
        "scancel: error: Kill job error on job id 16: Access/permission denied\n"
        "scancel: error: Kill job error on job id 13_4: Invalid job id specified\n"
    )
    reasons = squeue.parse_scancel(message)
    assert reasons == {"16": "Access/permission denied", "13_4": "Invalid job id specified"}
    assert reasons["13_4"] in squeue.HAS_ENDED
    assert reasons["16"] not in squeue.HAS_ENDED


@pytest.mark.parametrize(
    ("nodes", "names"),
    [
        ("n1", ["n1"]),
        ("n[1-3,07],m5", ["n1", "n2", "n3", "n07", "m5"]),
        ("n[08-11]", ["n08", "n09", "n10", "n11"]),
        ("", []),
        ("(null)", []),
        ("None assigned", []),
        ("n[1-", []),
    ],
)
def test_compressed_lists_of_nodes(nodes: str, names: list[str]) -> None:
    assert squeue.expand_nodes(nodes) == names


@pytest.mark.parametrize(
    ("kind", "accounted"),
    [
        ("accounting_storage/slurmdbd", True),
        ("accounting_storage/none", False),
        ("none", False),
        ("(null)", False),
        (None, False),
    ],
)
def test_clusters_that_account_jobs(kind: str | None, accounted: bool) -> None:
    output = "Configuration data as of 2026-01-01T00:00:00\nMaxArraySize            = 1001\n"
    config = squeue.parse_config(output + (f"AccountingStorageType   = {kind}\n" if kind else ""))
    assert config["MaxArraySize"] == "1001"
    assert squeue.is_accounted(config) is accounted


CODES = st.sampled_from(["", "3", "3:0", "0:9", "0:125", "²:0", "0:²", "-1:0", "x:y"])
STATES = st.sampled_from(["", "RUNNING", "PENDING", "FAILED", "CANCELLED by 0", "OUT_OF_MEMORY"])
NODES = st.sampled_from(["", "n1", "n[1-2]", "n[1", "n[²]", "n[a-b]", "n[3-1]", "]"]) | st.text(
    "n[]-,019² ()", max_size=8
)


def output_of(*fields: st.SearchStrategy[str], separator: str = "|") -> st.SearchStrategy[str]:
    """Any text, and lines of nearly valid fields."""
    line = st.tuples(*fields).map(separator.join)
    return st.text() | st.lists(line | st.text(max_size=20), max_size=4).map("\n".join)


NUMBERS = st.sampled_from(["", "12", "²", "N/A", "x"])


@given(
    output_of(NUMBERS, NUMBERS, NUMBERS, STATES, st.text(max_size=6), st.text(max_size=6), NODES, st.text(max_size=6))
)
@settings(deadline=None)
def test_any_output_of_squeue_is_parsed(output: str) -> None:
    for each in squeue.parse_squeue(output):
        assert each.status.name == each.name


@given(output_of(st.sampled_from(["", "12", "12.0", "."]), STATES, CODES, NODES, st.text(max_size=6)))
@example("12|FAILED|0:²|n1|x")
@example("12|FAILED|²:0|n1|x")
@settings(deadline=None)
def test_any_output_of_sacct_is_parsed(output: str) -> None:
    assert all(isinstance(end, JobEnd) for end in squeue.parse_sacct(output).values())


def named(name: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.just("") | values.map(f"{name}={{}}".format)


@given(
    output_of(
        named("JobId", NUMBERS),
        named("ArrayJobId", NUMBERS),
        named("ArrayTaskId", NUMBERS),
        named("JobName", st.text(max_size=6)),
        named("JobState", STATES),
        named("ExitCode", CODES),
        named("NodeList", NODES),
        separator=" ",
    )
)
@example("JobId=12 ArrayTaskId=4 JobName=x JobState=FAILED ExitCode=1:0")
@settings(deadline=None)
def test_any_output_of_scontrol_is_parsed(output: str) -> None:
    assert all(isinstance(each, JobEnd | JobStatus) for each in squeue.parse_scontrol(output).values())
    assert isinstance(squeue.is_unknown_job(output), bool)
    assert isinstance(squeue.parse_scancel(output), dict)
    assert isinstance(squeue.parse_config(output), dict)


@given(NODES)
@settings(deadline=None)
def test_any_list_of_nodes_is_parsed(nodes: str) -> None:
    assert all(isinstance(name, str) for name in squeue.expand_nodes(nodes))


@given(st.text() | st.text("0123456789:-²٣", max_size=12))
@settings(deadline=None)
def test_any_text_is_accepted_as_a_time(text: str) -> None:
    seconds = squeue.parse_elapsed(text)
    assert seconds is None or seconds >= 0


_ACCOUNT = """\
7|PREEMPTED|0:0|2026-11-30T10:00:00|2026-11-30T10:05:00|n1|qk3f9-00001-1
7|COMPLETED|0:0|2026-11-30T10:06:00|2026-11-30T10:10:00|n2|qk3f9-00001-1
7|COMPLETED|0:0|2025-01-01T10:06:00|2025-01-01T10:10:00|n2|another job, before slurmctld lost its state
9_0|NODE_FAIL|0:0|2026-11-30T10:00:00|2026-11-30T10:05:00|n[1-2]|qk3f9-w00002
9_0|RUNNING|0:0|2026-11-30T10:06:00|Unknown|n[3-4]|qk3f9-w00002
9_[3-4%2]|CANCELLED by 0|0:0|None|2026-11-30T10:10:00|None assigned|qk3f9-w00002
"""


def test_accounting_records_of_runs_and_of_elements_that_never_ran() -> None:
    names = {"7": "qk3f9-00001-1", **{f"9_{index}": f"qk3f9-w00002[{index}]" for index in (0, 3, 4)}}
    found = squeue.parse_accounting(_ACCOUNT, names)
    assert [(each.name, each.state, each.start, each.nodes, each.has_ended) for each in found] == [
        ("qk3f9-00001-1", "PREEMPTED", "2026-11-30T10:00:00Z", ("n1",), True),
        ("qk3f9-00001-1", "COMPLETED", "2026-11-30T10:06:00Z", ("n2",), True),
        ("qk3f9-w00002[0]", "NODE_FAIL", "2026-11-30T10:00:00Z", ("n1", "n2"), True),
        ("qk3f9-w00002[0]", "RUNNING", "2026-11-30T10:06:00Z", ("n3", "n4"), False),
        ("qk3f9-w00002[3]", "CANCELLED by 0", None, (), True),
        ("qk3f9-w00002[4]", "CANCELLED by 0", None, (), True),
    ]
    command = squeue.accounting_command(names, None)
    assert {"--duplicates", "--jobs=7,9"} <= set(command)


def test_accounting_lines_of_another_format_are_skipped() -> None:
    lines = [
        "7|COMPLETED|0:0|2026-11-30T10:00:00|2026-11-30T10:05:00|n1",
        "8|COMPLETED|0:0|Unknown|Unknown|None assigned|a|b",
        "9|COMPLETED|0:0|2026-11-30T10:00:00|2026-11-30T10:05:00|n1|other",
        "10|COMPLETED|0:0|2026-11-30T10:00:00|2026-11-30T10:05:00|n1|",
    ]
    found = squeue.parse_accounting("\n".join(lines), {"7": "a", "8": "a|b", "9": "mine"})
    assert found == [AccountedJob("a|b", "8", "COMPLETED", "0:0", None, None, ())]


def test_configuration_keeps_only_settings_with_their_whole_values() -> None:
    output = "Configuration data as of 2026-01-01T00:00:00\n\nSchedulerParameters = a=1,b=2\nEmpty =\n"
    assert squeue.parse_config(output) == {"SchedulerParameters": "a=1,b=2", "Empty": ""}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            squeue.squeue_command(1000, "big"),
            "squeue --all --noheader --array --states=all --user=1000 --format=%i|%F|%K|%T|%M|%r|%N|%j --clusters=big",
        ),
        (
            squeue.sacct_command(["13_5", "14"], "big"),
            "env SLURM_BITSTR_LEN=0 sacct --noheader --parsable2 --jobs=13,14 "
            "--format=JobID,State,ExitCode,NodeList,JobName --clusters=big",
        ),
        (
            squeue.accounting_command(["13_5", "13_6"], None),
            "env TZ=UTC SLURM_TIME_FORMAT=standard sacct --allocations --duplicates --noheader --parsable2 --jobs=13 "
            "--format=JobID,State,ExitCode,Start,End,NodeList,JobName",
        ),
        (
            squeue.scontrol_command("12", "big"),
            "env SLURM_BITSTR_LEN=0 scontrol --clusters=big --all --oneliner show job 12",
        ),
        (squeue.scontrol_command(None, None), "env SLURM_BITSTR_LEN=0 scontrol --all --oneliner show jobs"),
        (
            squeue.scancel_command(["12", "13_4"], "big", "--signal=TERM"),
            "scancel --quiet --signal=TERM --clusters=big 12 13_4",
        ),
        (squeue.config_command("big"), "scontrol --clusters=big show config"),
        (squeue.config_command(None), "scontrol show config"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_commands(command: list[str], expected: str) -> None:
    assert command == expected.split()
