"""Inventories of PBS complexes for tests, as qstat and pbsnodes print them."""

from pathlib import Path

from aiperf_orch.schedulers.pbs.inventory import Complex, QueueOrServer, parse_nodes, parse_queues, parse_server

RECORDED = Path(__file__).parent / "pbs_site"


def recorded(name):
    """A recorded output of OpenPBS 23.06.06."""
    return (RECORDED / f"{name}.txt").read_text()


def make_complex(queues=None, nodes=None, **server):
    """A complex from the output of qstat and pbsnodes, recorded output by default; `server` are further attributes."""
    found = parse_server(recorded("qstat_Bf"))
    return Complex(
        QueueOrServer(found.name, {**found.attributes, **server}),
        parse_queues(recorded("qstat_Qf") if queues is None else queues),
        tuple(parse_nodes(recorded("pbsnodes_av") if nodes is None else nodes)),
    )


def node_text(name, state="free", ncpus=8, mem="100gb", **more):
    """A node as pbsnodes prints it; in the names of `more`, `__` stands for a dot."""
    lines = {"state": state, "resources_available.host": name, "resources_available.ncpus": ncpus}
    lines |= {"resources_available.mem": mem, **{key.replace("__", "."): value for key, value in more.items()}}
    return name + "\n" + "".join(f"     {key} = {value}\n" for key, value in lines.items()) + "\n"


def queue_text(name, **attributes):
    """A queue as qstat prints it; in the names of `attributes`, `__` stands for a dot."""
    lines = {"queue_type": "Execution", "enabled": "True", "started": "True"}
    lines |= {key.replace("__", "."): value for key, value in attributes.items()}
    return f"Queue: {name}\n" + "".join(f"    {key} = {value}\n" for key, value in lines.items()) + "\n"
