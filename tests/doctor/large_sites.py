"""Limits of large public systems, as their schedulers print them; numbers of their documentation, 2025-26."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiperf_orch.schedulers.pbs import inventory as pbs
from aiperf_orch.schedulers.slurm import accounting_limits, inventory, squeue

_CONFIG: Final = """\
Configuration data as of 2026-11-30T12:00:00
AccountingStorageEnforce = associations,limits,qos,safe
AccountingStorageType   = accounting_storage/slurmdbd
ClusterName             = {name}
MaxArraySize            = 10001
MaxJobCount             = 50000
MinJobAge               = 300 sec
SLURM_VERSION           = 24.05.5
"""
_PARTITION: Final = (
    "PartitionName={name} AllowGroups=ALL AllowAccounts=ALL AllowQos=ALL AllocNodes=ALL Default={default} QoS={qos} "
    "DefaultTime=00:30:00 DisableRootJobs=NO ExclusiveUser=NO ExclusiveTopo=NO GraceTime=0 Hidden=NO "
    "MaxNodes={nodes} MaxTime={time} MinNodes=0 LLN=NO MaxCPUsPerNode=UNLIMITED MaxCPUsPerSocket=UNLIMITED "
    "Nodes=ALL PriorityJobFactor=1 PriorityTier=1 RootOnly=NO ReqResv=NO OverSubscribe={shared} OverTimeLimit=NONE "
    "PreemptMode=OFF State=UP TotalCPUs=1204224 TotalNodes=9408 SelectTypeParameters=NONE JobDefaults=(null) "
    "DefMemPerNode=UNLIMITED MaxMemPerNode=UNLIMITED TRES=cpu=1204224,mem=4704T,node=9408,billing=1204224"
)


def _partition(
    name: str, time: str, *, nodes: str = "UNLIMITED", qos: str = "N/A", default: str = "NO", shared: str = "EXCLUSIVE"
) -> str:
    return _PARTITION.format(name=name, time=time, nodes=nodes, qos=qos, default=default, shared=shared)


def _qos(name: str, *, running: str = "", queued: str = "", most: str = "", wall: str = "", least: str = "") -> str:
    """A line of `sacctmgr show qos`, with the columns that `qos_command` requests."""
    group = [""] * 6
    return "|".join([name, "", *group, running, "", queued, "", most, "", "", "", "", wall, least])


def _cluster(name: str, partitions: Sequence[str], nodes: Sequence[str], qos: Sequence[str]) -> inventory.Cluster:
    names = ",".join(line.partition("|")[0] for line in qos)
    default = qos[0].partition("|")[0]
    return inventory.Cluster(
        squeue.parse_config(_CONFIG.format(name=name)),
        tuple(inventory.parse_partitions("\n".join(partitions))),
        tuple(inventory.parse_nodes("\n".join(nodes))),
        tuple(accounting_limits.parse_associations("|".join(["abc123", "", names, default, *[""] * 12]))),
        tuple(accounting_limits.parse_qos("\n".join(qos))),
        accounts=accounting_limits.parse_accounts("root|" + "|" * 6 + "\nabc123|root" + "|" * 6),
        default_account="abc123",
    )


FRONTIER: Final = _cluster(
    "frontier",
    [_partition("batch", "12:00:00", default="YES")],
    ["batch|allocated|9102|128|512000|gpu:8(S:0-3)|(null)", "batch|idle|306|128|512000|gpu:8(S:0-3)|(null)"],
    [_qos("normal", queued="100")],
)
"""100 jobs of a user in all states. That small jobs may run only for 2 h is in the documentation alone."""
FRONTIER_WITH_BINS: Final = _cluster(
    "frontier",
    [_partition("batch", "12:00:00", default="YES")],
    ["batch|allocated|9102|128|512000|gpu:8(S:0-3)|(null)", "batch|idle|306|128|512000|gpu:8(S:0-3)|(null)"],
    [
        _qos("bin5", queued="100", most="node=91", wall="02:00:00"),
        _qos("bin4", queued="100", most="node=183", least="node=92", wall="06:00:00"),
        _qos("bin3", queued="100", most="node=1881", least="node=184", wall="12:00:00"),
    ],
)
"""The same limits where a site has a QOS for each number of nodes."""
LUMI: Final = _cluster(
    "lumi",
    [
        _partition("standard-g", "2-00:00:00", nodes="1024", qos="standard-g"),
        _partition("small-g", "3-00:00:00", nodes="4", qos="small-g", shared="NO"),
        _partition("dev-g", "03:00:00", nodes="32", qos="dev-g", shared="NO"),
    ],
    [
        "standard-g|allocated|2800|128|512000|gpu:mi250:8(S:0-7)|AMD_EPYC_7A53,x1000",
        "small-g|mixed|198|128|512000|gpu:mi250:8(S:0-7)|AMD_EPYC_7A53,x1003",
        "dev-g|idle|48|128|512000|gpu:mi250:8(S:0-7)|AMD_EPYC_7A53,x1405",
    ],
    [
        _qos("normal"),
        _qos("standard-g", running="200", queued="210"),
        _qos("small-g", running="200", queued="210"),
        _qos("dev-g", running="1", queued="2"),
    ],
)
JADE: Final = _cluster(
    "jade2",
    [
        _partition("small", "6-00:00:00", nodes="1", default="YES", shared="NO"),
        _partition("big", "1-00:00:00", nodes="1", shared="NO"),
    ],
    [
        "small|mixed|30|80|515000|gpu:v100:8(S:0-1)|(null)",
        "big|mixed|33|80|515000|gpu:v100:8(S:0-1)|(null)",
    ],
    [_qos("normal", running="8", queued="8")],
)

_AURORA_SERVER: Final = """\
Server: aurora-pbs-0001.hostmgmt.cm.aurora.alcf.anl.gov
    server_state = Active
    scheduling = True
    default_queue = debug
    acl_roots = root
    resources_default.ncpus = 1
    scheduler_iteration = 600
    job_history_enable = True
    job_history_duration = 336:00:00
    pbs_version = 2024.1.2.20240524045815
"""
_AURORA_QUEUES: Final = """\
Queue: debug
    queue_type = Execution
    Priority = 100
    total_jobs = 31
    resources_max.nodect = 2
    resources_max.walltime = 01:00:00
    resources_min.nodect = 1
    default_chunk.queue = debug
    max_run = [u:PBS_GENERIC=1]
    enabled = True
    started = True

Queue: prod
    queue_type = Route
    total_jobs = 120
    max_queued = [p:PBS_GENERIC=100]
    route_destinations = tiny,small,medium
    enabled = True
    started = True

Queue: tiny
    queue_type = Execution
    from_route_only = True
    resources_max.nodect = 512
    resources_max.walltime = 06:00:00
    resources_min.nodect = 1
    max_run = [p:PBS_GENERIC=10]
    enabled = True
    started = True

Queue: small
    queue_type = Execution
    from_route_only = True
    resources_max.nodect = 1024
    resources_max.walltime = 12:00:00
    resources_min.nodect = 513
    max_run = [p:PBS_GENERIC=10]
    enabled = True
    started = True

Queue: medium
    queue_type = Execution
    from_route_only = True
    resources_max.nodect = 2048
    resources_max.walltime = 18:00:00
    resources_min.nodect = 1025
    max_run = [p:PBS_GENERIC=10]
    enabled = True
    started = True

"""
_AURORA_NODE: Final = """\
x{cabinet}c{chassis}s{slot}b0n0
     Mom = x{cabinet}c{chassis}s{slot}b0n0.hsn.cm.aurora.alcf.anl.gov
     ntype = PBS
     state = free
     pcpus = 208
     resources_available.arch = linux
     resources_available.host = x{cabinet}c{chassis}s{slot}b0n0
     resources_available.mem = 1056496172kb
     resources_available.ncpus = 208
     resources_available.ngpus = 6
     resources_available.queue = {queue}
     resources_available.vnode = x{cabinet}c{chassis}s{slot}b0n0
     resv_enable = True
     sharing = force_excl

"""
_AURORA_NODES: Final = "".join(
    _AURORA_NODE.format(cabinet=cabinet, chassis=chassis, slot=slot, queue="debug" if cabinet == 4000 else "prod")
    for cabinet in range(4000, 4034)
    for chassis in range(8)
    for slot in range(8)
)
AURORA: Final = pbs.Complex(
    pbs.parse_server(_AURORA_SERVER), pbs.parse_queues(_AURORA_QUEUES), tuple(pbs.parse_nodes(_AURORA_NODES))
)
"""10 running and 100 queued jobs of a project; 34 of its 166 cabinets."""
