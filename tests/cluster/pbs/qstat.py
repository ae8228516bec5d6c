"""Commands qstat and qselect."""

from pbs import server
from pbs.errors import ALREADY_FINISHED, UNKNOWN_JOB, CommandError, not_supported
from pbs.formats import attribute_text, job_text
from pbs.store import FINISHED, LIVE

_HEAD = (
    "Job id            Name             User              Time Use S Queue\n"
    "----------------  ---------------- ----------------  -------- - -----\n"
)
_STATES = ("Transit", "Queued", "Held", "Waiting", "Running", "Exiting", "Begun")
_QUEUE_HEAD = (
    "Queue              Max   Tot Ena Str   Que   Run   Hld   Wat   Trn   Ext Type\n"
    "---------------- ----- ----- --- --- ----- ----- ----- ----- ----- ----- ----\n"
)
_SERVER_HEAD = (
    "Server             Max   Tot   Que   Run   Hld   Wat   Trn   Ext Status\n"
    "---------------- ----- ----- ----- ----- ----- ----- ----- ----- -----------\n"
)


def qstat(store, arguments):
    """Show jobs, with -Q queues, or with -B the server."""
    letters, ids = set(), []
    for word in arguments:
        if word.startswith("-") and word != "-":
            letters |= set(word[1:])
        else:
            ids.append(word)
    if letters - set("fxwtQB"):
        raise not_supported(f"qstat {' '.join(arguments)}")
    with server.opened(store, "qstat"):
        if "Q" in letters:
            return _queues(store, "f" in letters, ids), 0
        if "B" in letters:
            return _server(store, "f" in letters), 0
        return _jobs(store, letters, ids)


def _jobs(store, letters, ids):
    history = "x" in letters
    if history and not store.settings["history"]:
        text = "".join(f"qstat: PBS is not configured to maintain job history {each}\n" for each in ids or [""])
        raise CommandError(text, 0)
    errors, jobs = [], []
    if any(ids):
        for job_id in ids:
            try:
                jobs += _find(store, job_id, history)
            except CommandError as error:
                errors.append(error)
    else:
        jobs = _all(store, history)
    if "f" in letters:
        text = "".join(job_text(job["id"], job["attributes"], "w" not in letters) for job in jobs)
    else:
        text = _HEAD + "".join(map(_row, jobs)) if jobs else ""
    if errors:
        raise CommandError("".join(each.text for each in errors), errors[-1].status, text)
    return text, 0


def _find(store, word, history):
    """Find the job with this id, or the jobs of this queue."""
    if not word[:1].isdigit():
        if word not in store.settings["queues"]:
            raise CommandError(f"qstat: Unknown queue destination {word}\n", 170)
        return [job for job in _all(store, history) if job["attributes"]["queue"] == word]
    sequence = server.parse_id(store, "qstat", word)
    live, finished = store.job(sequence, LIVE), store.job(sequence, FINISHED)
    if live is None and (finished is None or not history):
        shown = f"{sequence}.{store.settings['server']}"
        if finished is None:
            raise CommandError(f"qstat: Unknown Job Id {shown}\n", UNKNOWN_JOB)
        text = f"qstat: {shown} Job has finished, use -x or -H to obtain historical job information\n"
        raise CommandError(text, ALREADY_FINISHED)
    return [live or finished]


def _all(store, history):
    return sorted(store.jobs() + (store.jobs(FINISHED) if history else []), key=lambda job: job["seq"])


def _row(job):
    attributes = job["attributes"]
    used = attributes.get("resources_used.cput", "0")
    owner = attributes["Job_Owner"].partition("@")[0]
    name = attributes["Job_Name"][:16]
    return f"{job['id']:<17} {name:<16} {owner:<16} {used:>9} {attributes['job_state']} {attributes['queue']:<16}\n"


def _counts(jobs):
    states = [job["attributes"]["job_state"] for job in jobs]
    return {name: states.count(letter) for name, letter in zip(_STATES, "TQHWREB", strict=True)}


def _state_count(counts):
    return " ".join(f"{name}:{counts[name]}" for name in _STATES) + " "


def _columns(counts):
    return " ".join(f"{counts[name]:5}" for name in ("Queued", "Running", "Held", "Waiting", "Transit", "Exiting"))


def _queues(store, full, names):
    for name in names:
        if name not in store.settings["queues"]:
            raise CommandError(f"qstat: Unknown queue {name}\n", 170)
    text = "" if full else _QUEUE_HEAD
    for name, queue in store.settings["queues"].items():
        if names and name not in names:
            continue
        jobs = [job for job in store.jobs() if job["attributes"]["queue"] == name]
        counts = _counts(jobs)
        if full:
            shown = {
                "queue_type": "Execution",
                "total_jobs": len(jobs),
                "state_count": _state_count(counts),
                **_limits(queue),
                "resources_assigned.ncpus": _running(jobs, "Resource_List.ncpus"),
                "resources_assigned.nodect": _running(jobs, "Resource_List.nodect"),
                "enabled": queue["enabled"],
                "started": queue["started"],
            }
            text += f"Queue: {name}\n" + _lines(shown)
        else:
            yes = ["yes" if queue[key] else "no" for key in ("enabled", "started")]
            text += f"{name:<16} {0:5} {len(jobs):5} {yes[0]:>3} {yes[1]:>3} {_columns(counts)} Exe*\n"
    return text


def _limits(queue):
    """Limits of a queue, with the names of qmgr."""
    from pbs.formats import duration

    shown = {}
    if queue["max_queued"] is not None:
        shown["max_queued"] = f"[u:PBS_GENERIC={queue['max_queued']}]"
    if queue["users"] is not None:
        shown |= {"acl_user_enable": True, "acl_users": ",".join(queue["users"])}
    if queue["max_ncpus"] is not None:
        shown["resources_max.ncpus"] = queue["max_ncpus"]
    if queue["max_walltime"] is not None:
        shown["resources_max.walltime"] = duration(queue["max_walltime"])
    return shown


def _running(jobs, name):
    return sum(job["attributes"][name] for job in jobs if job["attributes"]["job_state"] in "RE")


def _lines(shown):
    return "".join(attribute_text(name, str(value)) + "\n" for name, value in shown.items()) + "\n"


def _server(store, full):
    settings, jobs = store.settings, store.jobs()
    counts = _counts(jobs)
    state = "Active" if settings["scheduling"] else "Idle"
    total = len(jobs) + len(store.jobs(FINISHED))
    if not full:
        return f"{_SERVER_HEAD}{settings['server']:<16} {0:5} {total:5} {_columns(counts)} {state:<10}\n"
    shown = {
        "server_state": state,
        "server_host": settings["host"],
        "scheduling": settings["scheduling"],
        "total_jobs": total,
        "state_count": _state_count(counts),
        "acl_roots": "root",
        "default_queue": "workq",
        "log_events": 511,
        "mailer": "/usr/sbin/sendmail",
        "mail_from": "adm",
        "query_other_jobs": True,
        "resources_default.ncpus": 1,
        "default_chunk.ncpus": 1,
        "resources_assigned.ncpus": _running(jobs, "Resource_List.ncpus"),
        "resources_assigned.nodect": _running(jobs, "Resource_List.nodect"),
        "scheduler_iteration": 600,
        "flatuid": True,
        "resv_enable": True,
        "node_fail_requeue": settings["node_fail_requeue"],
        "max_array_size": 10000,
        "resend_term_delay": 5,
        "pbs_license_min": 0,
        "pbs_license_max": 2147483647,
        "pbs_license_linger_time": 31536000,
        "license_count": "Avail_Global:1000000 Avail_Local:1000000 Used:0 High_Use:0",
        "pbs_version": "23.06.06",
        **({"job_history_enable": True} if settings["history"] else {}),
        "eligible_time_enable": False,
        "max_concurrent_provision": 5,
        "clear_topjob_estimates_enable": False,
        "max_job_sequence_id": 9999999,
    }
    return f"Server: {settings['server']}\n" + _lines(shown)


def qselect(store, arguments):
    """List the ids of jobs by name (-N), state (-s) or owner (-u), with -x also those of the history."""
    wanted, history = {}, False
    while arguments:
        word = arguments.pop(0)
        if word == "-x":
            history = True
        elif word in ("-N", "-s", "-u") and arguments:
            wanted[word] = arguments.pop(0)
        else:
            raise not_supported(f"qselect {word}")
    with server.opened(store, "qselect"):
        if history and not store.settings["history"]:
            raise CommandError("qselect: PBS is not configured to maintain job history\n", 0)
        jobs = _all(store, history)
    return "".join(f"{job['id']}\n" for job in jobs if _matches(job["attributes"], wanted)), 0


def _matches(attributes, wanted):
    return (
        attributes["Job_Name"] == wanted.get("-N", attributes["Job_Name"])
        and attributes["job_state"] in wanted.get("-s", attributes["job_state"])
        and attributes["Job_Owner"].partition("@")[0] == wanted.get("-u", attributes["Job_Owner"].partition("@")[0])
    )
