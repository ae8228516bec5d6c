"""Paths of the output of a job while it runs, and delivery at its end."""

import os


def plan(store, job, paths):
    """Set the paths to which stdout and stderr of the job are written and delivered.

    Args:
        store: the state.
        job: the job, in which the pairs of paths are stored.
        paths: paths of Error_Path and Output_Path.
    """
    join, keep = job["attributes"]["Join_Path"], job["attributes"]["Keep_Files"]
    written, delivered = [], []
    for letter, suffix, path in (("o", "OU", paths[1]), ("e", "ER", paths[0])):
        spool = store.path("spool", f"{job['id']}.{suffix}")
        if keep == "n" or letter not in keep:
            written.append(spool)
            delivered.append(path)
        elif "d" in keep:
            direct = os.path.join(path, f"{job['id']}.{suffix}") if os.path.isdir(path) else path
            written.append(direct)
            delivered.append(direct)
        else:
            home = os.path.join(store.settings["home"], f"{job['attributes']['Job_Name']}.{letter}{job['seq']}")
            written.append(home)
            delivered.append(home)
    if join == "oe":
        written[1], delivered[1] = written[0], delivered[0]
    elif join == "eo":
        written[0], delivered[0] = written[1], delivered[1]
    job |= {"written": written, "delivered": delivered, "kept_at_home": keep != "n" and "d" not in keep}


def open_files(job):
    """Open the files for stdout and stderr of the tasks of the job, with its umask; return the descriptors."""
    os.umask(job["umask"])
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return [os.open(path, flags, 0o666) for path in job["written"]]


def deliver(job):
    """Move the output from the spool to its destination; return whether all of it was moved."""
    complete = True
    for source, target in dict(zip(job["written"], job["delivered"], strict=True)).items():
        if source != target:
            if os.path.isdir(target):
                target = os.path.join(target, os.path.basename(source))
            import shutil  # loads slowly, and no command needs it

            try:
                shutil.move(source, target)
            except OSError:  # it stays in the spool
                complete = False
    return complete
