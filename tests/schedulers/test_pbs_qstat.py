"""Commands and parsers of qstat, on recorded output of OpenPBS 23.06.06."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiperf_orch.schedulers.pbs import qstat
from aiperf_orch.schedulers.pbs.job_status import end_of, status_of
from aiperf_orch.schedulers.pbs.qstat import QstatJob

pytestmark = pytest.mark.unit

RECORDED = Path(__file__).parent / "pbs"


def job_of(**attributes):
    return QstatJob("1.vm", {name.replace("__", "."): value for name, value in attributes.items()})


def recorded_job(name):
    (job,) = qstat.parse_jobs((RECORDED / f"{name}.txt").read_text(errors="replace"))
    return job


def test_commands():
    assert qstat.list_command() == ["qstat", "-f"]
    assert qstat.jobs_command(["1.vm", "2.vm"]) == ["qstat", "-x", "-f", "1.vm", "2.vm"]
    assert qstat.jobs_command(["1.vm"], history=False) == ["qstat", "-f", "1.vm"]
    assert qstat.server_command() == ["qstat", "-B", "-f"]


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.txt")), ids=lambda path: path.stem)
def test_any_truncation_of_a_recorded_output_is_detected(path):
    text = path.read_text(errors="replace")
    assert qstat.is_complete(text)
    assert not any(qstat.is_complete(text[:end]) for end in range(1, len(text)))


def test_no_output_is_complete():
    assert qstat.is_complete("")
    assert qstat.is_complete("\n")


def test_a_recorded_job():
    job = recorded_job("finished_exit3")
    assert (job.id, job.name, job.state, job.exit_status, job.substate) == ("35.vm", "ex3", "F", 3, 93)
    assert (job.start_count, job.never_ran, job.hosts, job.elapsed) == (1, False, ("pbsn1",), 0.0)
    assert job.comment == "Job run at Mon Nov 23 at 13:37 on (pbsn1:ncpus=1) and failed"


def test_a_job_without_attributes():
    job = job_of()
    assert (job.name, job.state, job.comment, job.exit_status, job.substate) == ("", "", "", None, None)
    assert (job.predecessors, job.start_count, job.hosts, job.elapsed) == ((), 0, (), None)
    assert (job.is_preempted, job.can_never_run, job.starts_refused, job.never_ran) == (False, False, False, False)


@pytest.mark.parametrize(
    ("text", "number"),
    [("271", 271), ("-29", -29), (" 3 ", 3), ("123456789", 123456789), ("1234567890", None), ("x", None), ("", None)],
)
def test_exit_status_and_substate_are_integers(text, number):
    job = job_of(Exit_status=text, substate=text)
    assert (job.exit_status, job.substate) == (number, number)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"substate": "45"}, True),
        ({"substate": "43"}, False),
        ({"comment": "Job run at Mon Nov 23 and terminated by Scheduler@vm"}, True),
        ({"comment": "Job run at Mon Nov 23 and terminated by pbsuser@vm"}, False),
    ],
)
def test_preemption(attributes, expected):
    assert job_of(**attributes).is_preempted is expected


@pytest.mark.parametrize(
    ("state", "comment", "expected"),
    [
        ("Q", "Can Never Run: Insufficient amount of resource: ncpus (R: 100 A: 16 T: 16)", True),
        ("Q", "Can Never Run: No available resources on nodes", False),
        ("Q", "Can Never Run: Internal Scheduling Error", False),
        ("Q", "Not Running: Not enough free nodes available", False),
        ("R", "Can Never Run: Insufficient amount of resource: ncpus (R: 100 A: 16 T: 16)", False),
    ],
)
def test_jobs_that_can_never_run(state, comment, expected):
    assert job_of(job_state=state, comment=comment).can_never_run is expected


@pytest.mark.parametrize(
    ("state", "comment", "expected"),
    [
        ("H", "job held, too many failed attempts to run", True),
        ("H", "Job held by root on Mon Nov 30 11:02:03 2026", False),
        ("Q", "job held, too many failed attempts to run", False),
    ],
)
def test_jobs_whose_starts_were_refused(state, comment, expected):
    assert job_of(job_state=state, comment=comment).starts_refused is expected


@pytest.mark.parametrize(
    ("depend", "predecessors"),
    [
        ("afterany:50.vm@vm:51.vm@vm,beforeany:60.vm@vm,afterok:52.vm@vm", ("50.vm", "51.vm", "52.vm")),
        ("beforeany:60.vm@vm", ()),
        ("beforeok:60.vm@vm, afterok:61.vm@vm", ("61.vm",)),
        ("afterany:", ()),
        ("afterany", ()),
    ],
)
def test_predecessors_of_a_job(depend, predecessors):
    assert job_of(depend=depend).predecessors == predecessors


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"job_state": "F"}, True),
        ({"job_state": "F", "run_count": "1"}, False),
        ({"job_state": "F", "stime": "Mon Nov 23 13:53:29 2026"}, False),
        ({"job_state": "Q"}, False),
    ],
)
def test_jobs_that_ended_without_a_start(attributes, expected):
    assert job_of(**attributes).never_ran is expected


@pytest.mark.parametrize(
    ("exec_host", "hosts"), [("n1/0*2+n2/0*2", ("n1", "n2")), ("n1/0+n1/1", ("n1",)), ("", ()), ("/0", ())]
)
def test_hosts_of_a_job(exec_host, hosts):
    assert job_of(exec_host=exec_host).hosts == hosts


@pytest.mark.parametrize(
    ("text", "seconds"), [("01:02:03", 3723.0), ("100:00:00", 360000.0), ("02:03", None), ("1:2:x", None)]
)
def test_elapsed_time(text, seconds):
    assert job_of(resources_used__walltime=text).elapsed == seconds


def test_only_jobs_with_the_requested_names_are_parsed():
    text = "".join(
        f"Job Id: {number}.vm\n    Job_Name = {name}\n    queue = q\n\n" for number, name in enumerate("abca")
    )
    text += "Job Id: 4.vm\n    queue = q\n\n"
    assert [job.id for job in qstat.parse_jobs(text)] == ["0.vm", "1.vm", "2.vm", "3.vm", "4.vm"]
    assert [job.id for job in qstat.parse_jobs(text, {"a", "c"})] == ["0.vm", "2.vm", "3.vm"]
    assert [job.attributes for job in qstat.parse_jobs(text, {"b"})] == [{"Job_Name": "b", "queue": "q"}]


def test_blocks_of_attributes():
    text = (
        "noise\n    before = the first block\n\tnor this\nJob Id: 1.vm\n    Job_Name = a\n"
        "    Resource_List.net-bw = first,\n\tsecond,\n\tthird\n    queue = q\n    queue = other\n  ignored = 1\n\n"
        "Job Id: 2.vm\n\tignored\n    Job_Name = b\n\n"
    )
    assert list(qstat.parse_blocks(text, "Job Id: ")) == [
        ("1.vm", {"Job_Name": "a", "Resource_List.net-bw": "first,second,third", "queue": "q"}),
        ("2.vm", {"Job_Name": "b"}),
    ]


def test_a_value_may_contain_unusual_line_ends():
    (job,) = qstat.parse_jobs("Job Id: 1.vm\n    comment = a\x0bb\x1cc\u2028d\n\n")
    assert job.comment == "a\x0bb\x1cc\u2028d"


def test_unknown_jobs_in_the_error_output():
    errors = "qstat: Unknown Job Id 7.vm\nqstat: 8.vm Job has finished\nqstat: Unknown Job Id 9.vm\n"
    assert qstat.parse_unknown(errors) == {"7", "9"}


def test_a_server_without_job_history_is_recognised():
    assert qstat.reports_no_history("qstat: PBS is not configured to maintain job history 7.vm\n")
    assert not qstat.reports_no_history("qstat: Unknown Job Id 7.vm\n")


@pytest.mark.parametrize(("job", "expected"), [("50.vm", True), ("51.vm", True), ("5.vm", False), ("0.vm", False)])
def test_a_listing_contains_a_job(job, expected):
    assert qstat.is_listed("Job Id: 50.vm\n    Job_Name = a\n\nJob Id: 51.vm\n\n", job) is expected


def test_attributes_of_the_server():
    assert qstat.parse_server("Server: vm\n    a = 1\n\nServer: vm2\n    a = 2\n\n") == {"a": "1"}
    assert qstat.parse_server("") == {}


@pytest.mark.parametrize(
    ("output", "job"),
    [
        ("123.pbs01.example.org\n", "123.pbs01.example.org"),
        ("Welcome!\nproject 12 has 300 hours left\n 7.vm \n", "7.vm"),
        ("1.vm\n2.vm\nqueued\n", "2.vm"),
        ("123[].vm\n", "123[].vm"),
        ("123[4].vm\n", "123[4].vm"),
        ("123\n", "123"),
        ("job 123.vm\n", None),
        ("", None),
    ],
)
def test_the_job_id_that_qsub_printed(output, job):
    assert qstat.parse_submitted_id(output) == job


@pytest.mark.parametrize(
    ("job", "number", "submitit"),
    [
        ("123.vm", "123", "123"),
        ("123", "123", "123"),
        ("123[4].vm", "123[4]", "123_4"),
        ("123[].vm", "123[]", "123"),
        ("x.vm", "x", "x.vm"),
    ],
)
def test_forms_of_a_job_id(job, number, submitit):
    assert qstat.job_number(job) == number
    assert qstat.submitit_id(job) == submitit


@given(st.text() | st.text("JobId: \n\t=_Ejxit-s0123F", max_size=200).map(lambda text: f"Job Id: 1.vm\n{text}"))
def test_no_output_raises_an_error(output):
    for job in qstat.parse_jobs(output):
        status_of(job)
        end_of(job)
