"""Command pbsnodes."""

import time

from pbs import server
from pbs.errors import CommandError, not_supported
from pbs.formats import date


def pbsnodes(store, arguments):
    """Show nodes: all with `-a` or `-av`, those that are not up with `-l`, or some by name."""
    names = [word for word in arguments if not word.startswith("-")]
    letters = set("".join(word[1:] for word in arguments if word.startswith("-")))
    if letters - set("avl"):
        raise not_supported(f"pbsnodes {' '.join(arguments)}")
    with server.opened(store, "pbsnodes"):
        nodes, jobs = store.settings["nodes"], store.jobs()
    for name in names:
        if name not in nodes:
            raise CommandError(f"Node: {name},  Error: Unknown node \n", 1)
    if "l" in letters:
        return "".join(_unavailable(name, node) for name, node in nodes.items() if node["state"] != "free"), 0
    return "\n".join(_node(name, nodes[name], jobs) for name in names or nodes), 0


def _unavailable(name, node):
    return f"{name:<20} {node['state']} {node['comment']}\n"


def _node(name, node, jobs):
    here = [(job, index, chunk) for job in jobs for where, index, chunk in job["allocation"] if where == name]
    used = {resource: sum(chunk.get(resource, 0) for _, _, chunk in here) for resource in ("mem", "ncpus", "ngpus")}
    state = node["state"]
    if state == "free" and any("excl" in job["place"] for job, _, _ in here):
        state = "job-exclusive"
    elif state == "free" and used["ncpus"] >= node["ncpus"]:
        state = "job-busy"
    jobs_here = ", ".join(f"{job['id']}/{index}" for job, index, _ in here)
    lines = [
        f"Mom = {name}",
        "ntype = PBS",
        f"state = {state}",
        f"pcpus = {node['ncpus']}",
        *([f"jobs = {jobs_here}"] if here else []),
        "resources_available.arch = linux",
        f"resources_available.host = {name}",
        f"resources_available.mem = {node['mem']}kb",
        f"resources_available.ncpus = {node['ncpus']}",
        *([f"resources_available.ngpus = {node['ngpus']}"] if node["ngpus"] else []),
        f"resources_available.vnode = {name}",
        "resources_assigned.accelerator_memory = 0kb",
        "resources_assigned.hbmem = 0kb",
        f"resources_assigned.mem = {used['mem']}kb",
        "resources_assigned.naccelerators = 0",
        f"resources_assigned.ncpus = {used['ncpus']}",
        *([f"resources_assigned.ngpus = {used['ngpus']}"] if node["ngpus"] else []),
        "resources_assigned.vmem = 0kb",
        *([f"comment = {node['comment']}"] if node["comment"] else []),
        "resv_enable = True",
        "sharing = default_shared",
        "license = l",
        f"last_state_change_time = {date(node['since'])}",
        f"last_used_time = {date(time.time())}",
    ]
    return name + "\n" + "".join(f"     {line}\n" for line in lines)
