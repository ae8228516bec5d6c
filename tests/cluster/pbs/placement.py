"""Allocation of nodes to jobs, and the comment of a job without an allocation. Reads and writes no files."""

_COUNTED = ("ncpus", "ngpus", "mem")


def free_resources(nodes, jobs):
    """Free resources of each node by name (memory in kb), with the `indices` of the chunks that run on it."""
    left = {
        name: {resource: node[resource] for resource in _COUNTED} | {"indices": set()} for name, node in nodes.items()
    }
    for job in jobs:
        for name, index, chunk in job.get("allocation", ()):
            if name in left:
                for resource in _COUNTED:
                    left[name][resource] -= chunk.get(resource, 0)
                left[name]["indices"].add(index)
                left[name]["exclusive"] = left[name].get("exclusive") or "excl" in job["place"]
    return left


def allocate(job, nodes, left):
    """Allocate nodes to a job: (node, index, chunk) for each chunk, or None if it has to wait.

    Args:
        job: the job.
        nodes: nodes by name.
        left: result of `free_resources`, which is not changed.
    """
    words = job["place"].split(":")
    left = {
        name: {**free, "indices": set(free["indices"])} for name, free in left.items() if nodes[name]["state"] == "free"
    }
    if "pack" in words:
        for name in left:
            allocation = _place(job["chunks"], {name: left[name]}, words)
            if allocation:
                return allocation
        return None
    return _place(job["chunks"], left, words)


def _place(chunks, left, words):
    left = {name: {**free, "indices": set(free["indices"])} for name, free in left.items()}
    scatter, alone = bool({"scatter", "vscatter"} & set(words)), bool({"excl", "exclhost"} & set(words))
    taken, allocation = set(), []
    for chunk in chunks:
        for name, free in left.items():
            if (scatter and name in taken) or free.get("exclusive") or not _fits(chunk, name, free):
                continue
            if alone and name not in taken and free["indices"]:
                continue
            index = next(number for number in range(len(free["indices"]) + 1) if number not in free["indices"])
            free["indices"].add(index)
            for resource in _COUNTED:
                free[resource] -= chunk.get(resource, 0)
            taken.add(name)
            allocation.append((name, index, chunk))
            break
        else:
            return None
    return allocation


def _fits(chunk, name, free):
    hosts = (chunk.get("host", name), chunk.get("vnode", name))
    return all(chunk.get(resource, 0) <= free[resource] for resource in _COUNTED) and hosts == (name, name)


def pending_comment(job, nodes):
    """The comment of a job without an allocation; nodes whose mom has not reported have no known resources."""
    nodes = {name: node for name, node in nodes.items() if node["reported"]}
    for resource in _COUNTED:
        wanted = max((chunk.get(resource, 0) for chunk in job["chunks"]), default=0)
        total = sum(node[resource] for node in nodes.values())
        asked = sum(chunk.get(resource, 0) for chunk in job["chunks"])
        if asked > total or wanted > max((node[resource] for node in nodes.values()), default=0):
            if resource == "mem":
                megabytes = sum(node["mem"] // 1024 for node in nodes.values())
                shown, there = _memory(asked), f"{megabytes}mb"
            else:
                shown, there = str(asked), str(total)
            return f"Can Never Run: Insufficient amount of resource: {resource} (R: {shown} A: {there} T: {there})"
    everything = {
        name: {resource: node[resource] for resource in _COUNTED} | {"indices": set()} for name, node in nodes.items()
    }
    all_free = {name: {**node, "state": "free"} for name, node in nodes.items()}
    up = {name: node for name, node in nodes.items() if node["state"] == "free"}
    fits_what_is_up = allocate(job, up, {name: everything[name] for name in up}) is not None
    words = set(job["place"].split(":"))
    if any("host" in chunk or "vnode" in chunk for chunk in job["chunks"]):
        if not fits_what_is_up:
            return "Not Running: Insufficient amount of resource: host "
    elif allocate(job, all_free, everything) is None:
        return "Can Never Run: Not enough total nodes available"
    elif "scatter" in words and words & {"excl", "exclhost"} and not fits_what_is_up:
        # a real scheduler handles whole nodes differently, and ignores nodes that are down or offline
        return "Can Never Run: No available resources on nodes"
    return "Not Running: Not enough free nodes available"


def _memory(kilobytes):
    """Format kb in the largest unit without a fraction."""
    for unit in ("kb", "mb", "gb"):
        if kilobytes % 1024 or unit == "gb":
            return f"{kilobytes}{unit}"
        kilobytes //= 1024
    raise AssertionError


def exec_host(allocation):
    """Format an allocation as `pbsn1/0*8+pbsn2/0`."""
    return "+".join(
        f"{name}/{index}" + (f"*{chunk['ncpus']}" if chunk["ncpus"] > 1 else "") for name, index, chunk in allocation
    )


def exec_vnode(allocation):
    """Format an allocation as `(pbsn1:ncpus=8)+(pbsn2:ncpus=1:mem=102400kb)`."""
    units = {"mem": "kb"}
    return "+".join(
        "(" + ":".join([name, *(f"{key}={chunk[key]}{units.get(key, '')}" for key in chunk if key in _COUNTED)]) + ")"
        for name, _, chunk in allocation
    )


def node_lines(allocation):
    """Lines of PBS_NODEFILE: each host once for each of its MPI ranks."""
    return [name for name, _, chunk in allocation for _ in range(chunk.get("mpiprocs", 1))]
