"""Dependencies between jobs: `qsub -W depend=afterany:ID` and `afterok`.

Recorded in sessions: the dependencies that qsub accepts and refuses; the attributes of both jobs; `afterany` releases a
job when its predecessor has ended in any way; `afterok` removes it when the predecessor has failed; a job stays held if
its predecessor is deleted before it ran (06_errors, 04_states2: depend_afterany_of_failed, depend_afterok_of_failed,
held_depend_afterok, depend_parent_deleted).

From the source of the server (req_register.c): a predecessor in the history counts as ended; a job with an unknown
predecessor is accepted and then removed, and so is a job whose predecessor is deleted while it waits for a third job.
"""

import re
import time

from pbs.store import FINISHED

HELD = 22
"""Substate of a job that waits for another one."""

_BEFORE = {"afterany": "beforeany", "afterok": "beforeok"}


def is_dependency(text):
    """Whether qsub accepts the text as a dependency; `before…` and `on` are not supported."""
    kind, colon, ids = text.partition(":")
    return kind in _BEFORE and bool(colon) and all(re.fullmatch(r"\d+(\.\w+)?", each) for each in ids.split(":"))


def register(store, job, text):
    """Hold a new job until its predecessors have ended."""
    kind, _, ids = text.partition(":")
    server, waits_for = store.settings["server"], []
    for sequence in [int(each.partition(".")[0]) for each in ids.split(":")]:
        parent, finished = store.job(sequence), store.job(sequence, FINISHED)
        if parent is not None:
            depend = _parse(parent["attributes"].get("depend", ""))
            depend.setdefault(_BEFORE[kind], []).append(f"{job['id']}@{server}")
            _write(parent["attributes"], depend)
            store.save(parent)
            waits_for.append(f"{parent['id']}@{server}")
        elif finished is None or (kind == "afterok" and finished["attributes"].get("Exit_status") != 0):
            _remove(store, job)
            return
    if waits_for:
        job["attributes"] |= {
            "depend": ":".join([kind, *waits_for]),
            "job_state": "H",
            "substate": HELD,
            "Hold_Types": "s" if job["attributes"]["Hold_Types"] == "n" else job["attributes"]["Hold_Types"] + "s",
        }
        job["attributes"].pop("etime", None)
        store.save(job)


def release(store, parent):
    """Release the successors of a job that ran and has ended; remove those that need its success, if it failed."""
    for job, kind in list(_followers(store, parent)):
        if kind == "afterok" and parent["attributes"].get("Exit_status") != 0:
            _remove(store, job)
            continue
        attributes = job["attributes"]
        depend = _parse(attributes["depend"])
        depend[kind] = [each for each in depend[kind] if each.partition("@")[0] != parent["id"]]
        _write(attributes, depend)
        if not any(depend.get(each) for each in _BEFORE):
            attributes["Hold_Types"] = attributes["Hold_Types"].replace("s", "") or "n"
            if attributes["Hold_Types"] == "n":
                attributes |= {"job_state": "Q", "substate": 10, "etime": int(time.time())}
            else:
                attributes["substate"] = 20
        store.save(job)


def remove_followers(store, parent):
    """Remove the successors of a deleted job that itself waited for another one."""
    for job, _ in list(_followers(store, parent)):
        _remove(store, job)


def _followers(store, parent):
    for job in store.jobs():
        for kind, ids in _parse(job["attributes"].get("depend", "")).items():
            if kind in _BEFORE and parent["id"] in [each.partition("@")[0] for each in ids]:
                yield job, kind


def _parse(text):
    """Parse `afterany:1.vm@vm,beforeany:3.vm@vm:4.vm@vm` into lists of ids by kind."""
    kinds = (part.split(":") for part in text.split(",") if part)
    return {kind: ids for kind, *ids in kinds}


def _write(attributes, depend):
    attributes["depend"] = ",".join(":".join([kind, *ids]) for kind, ids in depend.items() if ids)
    if not attributes["depend"]:
        del attributes["depend"]


def _remove(store, job):
    """Remove a job that never ran, without exit status and comment, as the server does."""
    job["attributes"]["substate"] = 92
    store.retire(job)
