"""Command line with bad input: messages, exit statuses, and nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiperf_orch.campaign.lock import Lock
from aiperf_orch.cli import main
from aiperf_orch.commands.examples import EXAMPLES
from aiperf_orch.records.journal import Finished

Run = Callable[..., subprocess.CompletedProcess[str]]
_FAILED, _WRONG_USE, _NOT_FINISHED = 1, 2, 4
_COMMANDS = {
    "Set up a site": ["init", "explain", "check", "bench-node", "data", "render", "plan", "completion"],
    "Run a campaign": ["run", "tick", "stop", "set", "drain", "agent", "trial"],
    "Watch a campaign": ["status", "log"],
    "Results": ["score", "report", "meter", "package", "mail", "scaling", "compare", "export-network", "ops"],
    "Committee": ["verify", "evaluate", "rank"],
}


@pytest.fixture
def refused(aiperf: Run) -> Callable[..., str]:
    """Runs a command that must fail with a status and a message; returns the message."""

    def refused(status: int, *arguments: Any, **options: Any) -> str:
        done = aiperf(*arguments, **options)
        assert done.returncode == status, done.stderr
        assert done.stdout == ""
        message = done.stderr.partition("error: ")[2]
        assert message, done.stderr
        return message.strip()

    return refused


@pytest.fixture
def over(campaign: Callable[..., Any]) -> Any:
    """A campaign of one trial whose deadline has passed; its next controller finishes and scores it."""
    made = campaign()
    made.trial(0, [(2, 0.5), (8, 0.2)])
    return made


def _go_on(made: Any, *options: str) -> list[Any]:
    return ["run", made.site, "--campaign-dir", made.path, *options]


# help


def test_help_lists_each_command_with_its_audience(aiperf: Run) -> None:
    done = aiperf("--help")
    assert (done.returncode, done.stderr) == (0, "")
    sections = [part.partition(":\n") for part in done.stdout.split("\n\n")]
    listed = {
        title: [line.split()[0] for line in text.splitlines()] for title, _, text in sections if title in _COMMANDS
    }
    assert list(listed.items()) == list(_COMMANDS.items())
    assert sorted(name for names in listed.values() for name in names) == sorted(main.commands)


@pytest.mark.parametrize("command", main.commands)
def test_every_command_has_help(aiperf: Run, command: str) -> None:
    done = aiperf(command, "-h")
    assert done.returncode == 0
    assert f"aiperf-orch.cli {command} [OPTIONS]" in done.stdout or f"{command} [OPTIONS]" in done.stdout
    assert all(f"\n    {line}\n" in done.stdout for line in EXAMPLES[command])


def test_version(aiperf: Run) -> None:
    assert aiperf("--version").stdout.startswith("aiperf-orch, version ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["launch"], "No such command 'launch'"),
        (["run"], "SITE: give a site file for a new campaign"),
        (["run", "a", "b"], "unexpected extra argument"),
        (["status", "x", "--format", "xml"], "'xml' is not one of"),
        (["ops", "resnet50", "--by-layers"], "No such option"),
    ],
)
def test_wrong_use_is_status_2(aiperf: Run, arguments: list[str], message: str) -> None:
    done = aiperf(*arguments)
    assert done.returncode == _WRONG_USE
    assert message in done.stderr


# site files


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            "campaign:\n  concurency: 3\n",
            [],
            "site.yaml:2: campaign.concurency: unknown key; did you mean concurrency?",
        ),
        (
            "campaign:\n  concurrency: two\n  duration: -5m\n",
            ["--max-trials", "0", "--seed", "x", "--set", "search.betta=1"],
            "site.yaml:2: campaign.concurrency: must be a whole number, not 'two'; for example concurrency: 2\n"
            "site.yaml:3: campaign.duration: '-5m' is not a duration such as 90s, 12h, 1h30m, 12:00:00 or 1-12:00:00; "
            "for example duration: 12h\n"
            "--max-trials: campaign.max_trials: must be greater than or equal to 1, not 0; "
            "for example --max-trials 20\n"
            "--seed: campaign.seed: must be a whole number, not 'x'; for example --seed 0\n"
            "--set search.betta: search.betta: unknown key; did you mean beta?",
        ),
        (
            "{}",
            ["--concurrency", "0"],
            "--concurrency: campaign.concurrency: must be greater than or equal to 1, not 0",
        ),
        ("{}", ["--duration", "12"], "--duration: campaign.duration: '12' is not a duration such as"),
        ("campaign: [\n", [], "site.yaml:2:1: not valid YAML: "),
        ("- a\n", [], "site.yaml: a site file is a mapping of sections"),
        ("a: !!python/object/apply:os._exit [7]\n", [], "site.yaml:1: a: unknown key"),
    ],
)
def test_a_wrong_site_file(refused: Callable[..., str], tmp_path: Path, text: str, options: Any, message: str) -> None:
    (tmp_path / "site.yaml").write_text(text)
    error = refused(_WRONG_USE, "run", "site.yaml", *options)
    assert sorted(error.splitlines()) == sorted(message.splitlines()) or error.startswith(message)
    assert [path.name for path in tmp_path.iterdir()] == ["site.yaml"]


def test_a_missing_site_file(refused: Callable[..., str], tmp_path: Path) -> None:
    error = refused(_WRONG_USE, "run", "nowhere.yaml")
    assert error.startswith("nowhere.yaml: there is no such site file")
    assert "local.yaml" in error
    assert list(tmp_path.iterdir()) == []


def test_a_seed_network_beyond_the_limits(refused: Callable[..., str], tmp_path: Path, write_site: Any) -> None:
    error = refused(_WRONG_USE, "run", write_site(), "--set", "network.max_layers=1")
    assert "the seed network" in error
    assert not (tmp_path / "campaigns").exists()


# campaign directories that cannot be used


@pytest.mark.parametrize(("command", "path"), [("tick", "."), ("status", "nowhere"), ("stop", "file"), ("score", ".")])
def test_a_path_that_is_no_campaign_directory(
    refused: Callable[..., str], tmp_path: Path, command: str, path: str
) -> None:
    (tmp_path / "file").write_text("mine")
    assert "is not a campaign directory: it has no campaign.yaml" in refused(_WRONG_USE, command, path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_run_leaves_a_directory_of_something_else_alone(
    refused: Callable[..., str], tmp_path: Path, write_site: Any, contents: Any
) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("mine")
    site = write_site()
    before = contents(tmp_path)
    error = refused(_WRONG_USE, "run", site, "--campaign-dir", "thesis")
    assert error.endswith("thesis: is not a campaign directory, and not empty")
    assert refused(_WRONG_USE, "run", site, "--campaign-dir", site) == f"{site}: is not a directory"
    assert contents(tmp_path) == before


def test_other_settings_are_refused(refused: Callable[..., str], over: Any, contents: Any) -> None:
    before = contents(over.path)
    error = refused(_WRONG_USE, *_go_on(over, "--duration", "2h"))
    assert f"{over.path}: this campaign was made with other settings:\n" in error
    assert "  campaign.duration: 1h there, 2h now (--duration)\n" in error
    assert contents(over.path) == before


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_campaign_that_others_can_write_is_refused(
    refused: Callable[..., str], over: Any, contents: Any, mode: int
) -> None:
    before = contents(over.path)
    over.path.chmod(mode)
    arguments = _go_on(over) if mode == 0o770 else ["status", over.path]
    assert f"{over.path}: can be written by others (mode {mode:04o})" in refused(_WRONG_USE, *arguments)
    assert contents(over.path) == before


def test_a_campaign_below_what_others_can_write_is_refused(
    refused: Callable[..., str], over: Any, tmp_path: Path
) -> None:
    tmp_path.chmod(0o777)
    error = refused(_WRONG_USE, *_go_on(over))
    reason = f"any user could replace {over.path} through this parent directory (mode 0777)"
    assert error.startswith(f"{tmp_path}: {reason}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_campaign_of_another_user_is_refused(refused: Callable[..., str], over: Any, contents: Any) -> None:
    before = contents(over.path)
    os.chown(over.path, 12345, -1)
    for arguments in (_go_on(over), ["status", over.path]):
        assert f"{over.path}: belongs to user id 12345, not to you" in refused(_WRONG_USE, *arguments)
    assert contents(over.path) == before


# locks


def test_a_campaign_of_a_live_controller_is_refused(
    refused: Callable[..., str], aiperf: Run, over: Any, contents: Any
) -> None:
    lock = Lock.acquire(over.directory.lock, take_over=False)
    before = contents(over.path)
    error = refused(_FAILED, *_go_on(over, "--take-over"))
    assert f"controller.lock: a live controller holds this campaign (process {os.getpid()} on " in error
    assert contents(over.path) == before
    lock.check_held()
    status = aiperf("status", over.path)
    assert status.returncode == 0
    assert f"controller alive: process {os.getpid()} on " in status.stdout


def test_a_live_controller_that_does_not_stop_in_time(aiperf: Run, campaign: Callable[..., Any]) -> None:
    made = campaign(scheduler__stop_grace="50ms")
    Lock.acquire(made.directory.lock, take_over=False)
    done = aiperf("stop", made.path)
    assert done.returncode == _NOT_FINISHED
    assert "asked its controller" in done.stderr
    assert "not stopped yet" in done.stderr
    assert made.directory.stop_request.exists()


def _edit_lock(made: Any, **fields: Any) -> None:
    """A lock that was left behind, by a process that is gone."""
    os.close(Lock.acquire(made.directory.lock, take_over=False).guard)
    made.directory.lock.write_text(json.dumps(json.loads(made.directory.lock.read_text()) | fields))


def test_a_lock_of_another_host_is_taken_over_only_on_request(
    refused: Callable[..., str], aiperf: Run, over: Any, contents: Any
) -> None:
    _edit_lock(over, host="elsewhere")
    before = contents(over.path)
    error = refused(_FAILED, *_go_on(over))
    assert "controller.lock: a controller on elsewhere " in error
    assert error.endswith("give --take-over")
    assert contents(over.path) == before
    assert aiperf(*_go_on(over, "--take-over")).returncode == 0


def test_a_lock_of_a_dead_process_is_taken_over(aiperf: Run, over: Any) -> None:
    _edit_lock(over, started=1)
    done = aiperf(*_go_on(over))
    assert done.returncode == 0
    assert json.loads(over.directory.lock.read_text())["generation"] == 2
    assert "score            55 OPS" in done.stdout


def test_a_lock_that_cannot_be_read_is_an_error(refused: Callable[..., str], over: Any) -> None:
    over.directory.lock.write_text("garbage")
    assert f"{over.directory.lock}: cannot be read as a lock" in refused(_FAILED, *_go_on(over))
    assert over.directory.lock.read_text() == "garbage"


# damage


def test_a_torn_last_journal_line_is_dropped_by_the_next_controller(aiperf: Run, over: Any) -> None:
    whole = over.directory.journal.read_bytes()
    over.directory.journal.write_bytes(whole + b'{"seq":99,"time":"2026')
    assert aiperf("status", over.path).returncode == 0
    assert over.directory.journal.read_bytes() == whole + b'{"seq":99,"time":"2026'
    done = aiperf(*_go_on(over))
    assert done.returncode == 0
    assert "440 operations in 8s: 2 epochs of 1 trials" in done.stdout
    journal = over.directory.journal.read_bytes()
    assert journal.startswith(whole)
    assert all(json.loads(line) for line in journal.splitlines())


def _garbage(lines: list[str]) -> None:
    lines[1] = "garbage"


def _garbage_at_the_end(lines: list[str]) -> None:
    lines.append("garbage")


def _changed(lines: list[str]) -> None:
    lines[3] = lines[3].replace("n1", "n2")


def _removed(lines: list[str]) -> None:
    del lines[2]


@pytest.mark.parametrize(
    ("damage", "number", "commands"),
    [
        (_garbage, 2, ["run", "status"]),
        (_garbage_at_the_end, 6, ["tick"]),
        (_changed, 5, ["score"]),
        (_removed, 3, ["stop"]),
    ],
)
def test_a_damaged_journal_is_an_error_with_its_line(
    refused: Callable[..., str], over: Any, contents: Any, damage: Any, number: int, commands: list[str]
) -> None:
    lines = over.journal_lines()
    damage(lines)
    over.directory.journal.write_text("".join(line + "\n" for line in lines))
    before = contents(over.path)
    for command in commands:
        error = refused(_FAILED, *(_go_on(over) if command == "run" else [command, over.path]))
        assert error.startswith(f"{over.directory.journal}:{number}: ")
        assert "(nothing was changed)" in error
    assert contents(over.path) == before


def test_a_journal_with_an_unknown_attempt_is_an_error(refused: Callable[..., str], over: Any) -> None:
    over.began(1, trial=7)
    assert refused(_FAILED, "status", over.path).startswith("journal.jsonl:6: began: names trial 7, attempt 1")


def test_an_error_of_the_system_names_the_file(refused: Callable[..., str], over: Any) -> None:
    over.directory.journal.unlink()
    over.directory.journal.mkdir()
    assert refused(_FAILED, "status", over.path) == f"{over.directory.journal}: cannot be read: not a regular file"


def test_frozen_settings_that_were_edited_are_refused(refused: Callable[..., str], over: Any, contents: Any) -> None:
    file = over.path / "campaign.yaml"
    file.write_text(file.read_text().replace("python: ", "python: 0", 1))
    before = contents(over.path)
    for arguments in (_go_on(over), ["score", over.path], ["status", over.path]):
        error = refused(_FAILED, *arguments)
        assert error.startswith(f"{file}: was changed after the campaign was made")
    assert contents(over.path) == before


def test_damaged_frozen_settings_are_an_error_with_their_key(refused: Callable[..., str], over: Any) -> None:
    file = over.path / "campaign.yaml"
    file.write_text(file.read_text().replace("concurrency: 2", "concurrency: two"))
    assert refused(_FAILED, "score", over.path).startswith(f"{file}: settings.campaign.concurrency: ")


def test_events_that_cannot_count_are_warnings_and_the_rest_is_scored(
    aiperf: Run, campaign: Callable[..., Any]
) -> None:
    made = campaign()
    made.submit()
    lie = json.dumps(json.loads(made.epoch(2, 3).to_line()) | {"ops": 10**12})
    nan = made.epoch(3, 4).to_line().replace('"loss":1.0', '"loss":NaN')
    torn = made.epoch(5, 6).to_line().encode()
    path = made.events(
        made.begin(), made.epoch(1, 2), "garbage", lie, nan, made.epoch(1, 5), made.epoch(4, 5, 0.4), torn
    )
    made.began()
    made.ended()
    before = path.read_bytes()
    done = aiperf("score", made.path)
    assert done.returncode == 0
    assert "440 operations in 5s: 2 epochs of 1 trials" in done.stdout
    for number in (3, 4, 5, 6):
        assert f"warning: {path}:{number}: " in done.stdout
    assert "records" in done.stdout
    [row] = json.loads(f"[{aiperf('score', made.path, '--format', 'json').stdout}]")
    assert (row["score"], row["error"], row["operations"]) == (88.0, 0.4, 440)
    assert "records" in row["missed_rules"].split()
    assert path.read_bytes() == before


def test_a_data_set_that_fails_pauses_the_campaign(aiperf: Run, write_site: Any, tmp_path: Path) -> None:
    site = write_site(training__simulated={"epoch_seconds": 0, "failure_rate": 1, "failure_reason": "BAD_DATA"})
    done = aiperf("run", site, "--campaign-dir", tmp_path / "campaign")
    assert done.returncode == _FAILED
    assert "error: paused: trial 0 ended BAD_DATA: a simulated failure" in done.stderr
    command = f"{sys.executable} -P -m aiperf_orch.cli run"
    assert f"correct the cause (`aiperf-orch set` changes settings) and go on: {command}" in done.stderr


# a full disk


def test_a_full_disk_is_an_error_and_existing_files_stay(
    refused: Callable[..., str], aiperf: Run, campaign: Any, small_disk: Path, fill: Any, contents: Any
) -> None:
    made = campaign("disk/campaign")
    made.trial(0, [(2, 0.5), (8, 0.2)])
    before = contents(made.path)
    fill(small_disk)
    assert ": cannot be written: the disk is full: free some space" in refused(_FAILED, *_go_on(made))
    assert ": cannot be written: the disk is full: free some space" in refused(_FAILED, "score", made.path)
    assert contents(made.path) == before
    (small_disk / "filler").unlink()
    assert aiperf(*_go_on(made)).returncode == 0


def test_a_disk_that_fills_while_a_campaign_runs(aiperf: Run, write_site: Any, small_disk: Path, fill: Any) -> None:
    site = write_site(
        scheduler__poll_interval="50ms",
        scheduler__silent_after="300ms",
        scheduler__lost_after="200ms",
        scheduler__retry_submit_for="1s",
        campaign__max_trials=1,
        training__warmup_epochs=[50],
        training__patience=50,
        training__max_patience=50,
        training__simulated={"epoch_seconds": 0.1},
    )
    path = small_disk / "campaign"
    arguments = ["run", str(site), "--campaign-dir", str(path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "aiperf_orch.cli", *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    events, journal = path / "events" / "00000-1.0.jsonl", path / "journal.jsonl"
    try:
        deadline = time.monotonic() + 60
        while not (events.exists() and events.read_text().count("\n") >= 3 and '"began"' in journal.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        fill(small_disk)
        message = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        process.wait(10)
    before, entries = events.read_text(), journal.read_text()
    assert process.returncode == _FAILED
    assert "error: " in message
    assert "the disk is full" in message
    assert "Traceback" not in message
    (small_disk / "filler").unlink()
    done = aiperf(*arguments)
    assert done.returncode == 0, done.stderr
    assert events.read_text().startswith(before)
    assert journal.read_text().startswith(entries[: entries.rfind("\n") + 1])
    assert "50 epochs of 1 trials" in done.stdout


# what is printed, and where


def test_a_finished_campaign_is_scored_again_and_again(aiperf: Run, over: Any, contents: Any) -> None:
    over.write(Finished, reason="its 1h are over", by_deadline=True)
    first = aiperf(*_go_on(over))
    before = contents(over.path)
    assert first.returncode == 0
    assert "SIMULATED" in first.stdout
    assert "not rankable" in first.stdout
    for arguments in (["tick", over.path], ["stop", over.path], ["score", over.path]):
        assert aiperf(*arguments).returncode == 0
    assert contents(over.path) == before


def test_status_as_json_and_csv(aiperf: Run, over: Any, contents: Any) -> None:
    before = contents(over.path)
    document = json.loads(aiperf("status", over.path, "--format", "json").stdout)
    assert document["state"] == "running"
    assert [trial["error"] for trial in document["trials"]] == [0.2]
    assert aiperf("status", over.path, "--format", "csv").stdout.splitlines()[0].startswith("trial,state,epoch,error,")
    assert contents(over.path) == before


def test_a_long_campaigns_table_has_its_latest_trials_and_counts_all(aiperf: Run, campaign: Any) -> None:
    made = campaign()
    for trial in range(23):
        made.trial(trial, [(2, 0.5), (8, 0.1 if trial == 1 else 0.2)])
    shown = aiperf("status", made.path).stdout
    assert [int(line.split()[0]) for line in shown.partition("\ntrial ")[2].splitlines()[1:]] == list(range(3, 23))
    assert "\nbest error 10.00%, trial 1\ntrials     23 COMPLETED\n" in shown
    assert "--format csv has all" in shown
    assert len(aiperf("status", made.path, "--format", "csv").stdout.splitlines()) == 1 + 23


def test_operations_as_json(aiperf: Run) -> None:
    document = json.loads(aiperf("ops", "resnet50", "--format", "json").stdout)
    assert (document["forward"], document["backward"], document["train"]) == (
        7_806_583_495,
        15_246_874_820,
        23_053_458_315,
    )


def test_operations_of_a_file_without_a_network(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    assert refused(_WRONG_USE, "ops", "bad.json").startswith("bad.json: not JSON: ")
    assert refused(_WRONG_USE, "ops", "nowhere").startswith("nowhere: neither a file nor a seed network")


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    command = f"{sys.executable} -m aiperf_orch.cli ops resnet50 --by-layer | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr


def test_an_interrupt_is_status_130(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "aiperf_orch.cli", "ops", str(pipe)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        writer = _open_for_writing(pipe)  # from now on it reads
        message = None
        for _ in range(10):
            process.send_signal(signal.SIGINT)
            try:
                message = process.communicate(timeout=5)[1]
                break
            except subprocess.TimeoutExpired:  # it came just before the read, which then knows nothing of it
                continue
        os.close(writer)
    finally:
        process.kill()
        process.wait(10)
    assert (process.returncode, message) == (130, "interrupted\n")


def _open_for_writing(pipe: Path) -> int:
    deadline = time.monotonic() + 60
    while True:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # no process reads yet
            assert time.monotonic() < deadline
            time.sleep(0.02)


# what is imported


def test_torch_is_imported_by_a_trial_only() -> None:
    script = """
import importlib, pkgutil, sys
import aiperf_orch
tasks = "__main__ bench_report count_opened_files probe".split()
tasks += [f"runtime.{name}" for name in "attempt distributed_trainer follower interfaces rendezvous".split()]
tasks += [f"runtime.{name}" for name in "simulated_trainer telemetry trainer worker_pool".split()]
tasks += [f"telemetry.{name}" for name in "accelerators amd_process processors traffic".split()]
names = {module.name for module in pkgutil.walk_packages(aiperf_orch.__path__, "aiperf_orch.")}
lean = {f"aiperf_orch.trial.{name}" for name in tasks}
assert lean <= names, names
for name in lean | {name for name in names if not name.startswith("aiperf_orch.trial.")}:
    importlib.import_module(name)
    assert "torch" not in sys.modules and "torchvision" not in sys.modules, name
print(len(names))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30


@pytest.mark.parametrize("arguments", [["--help"], ["ops", "resnet50"], ["status"]], ids=lambda arguments: arguments[0])
def test_quick_commands_import_nothing_heavy(over: Any, arguments: list[str]) -> None:
    script = """
import sys
from aiperf_orch.cli import main
try:
    main(sys.argv[1:], standalone_mode=False)
except SystemExit:
    pass
heavy = {"torch", "torchvision", "pandas", "optuna", "sklearn", "scipy", "submitit", "matplotlib"}
sys.exit(" ".join(sorted(heavy & set(sys.modules))) or 0)
"""
    arguments = [*arguments, str(over.path)] if arguments == ["status"] else arguments
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize("command", ["verify", "rank"])
def test_verify_and_rank_need_few_libraries(command: str, aiperf: Any) -> None:
    package = Path(__file__).parent / "releases" / "0.1.0" / "local.tar.gz"
    # by each process of the command
    done = aiperf(command, package, env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"})
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}
    assert {"click", "jinja2", "pydantic", "yaml"} <= loaded
    heavy = {"torch", "torchvision", "sklearn", "scipy", "pandas", "matplotlib", "submitit", "PIL", "psutil", "rich"}
    assert not heavy & loaded
