"""The configuration files of a private Slurm cluster; `slurm.py` runs it."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CLUSTER = "private"
GPU_TYPE = "fake"


@dataclass(frozen=True)
class Layout:
    """Layout of a cluster. `cpus`, `memory` (MB) and `gpus` are those of each node; the machine need not have them."""

    root: Path
    user: str
    nodes: Sequence[str]
    cpus: int
    memory: int
    gpus: int
    accounting: bool
    max_array_size: int
    extra_conf: str
    ports: Mapping[str, int]  # of slurmctld, slurmdbd and each node

    @property
    def conf(self) -> Path:
        return self.root / "etc/slurm.conf"

    @property
    def munge_socket(self) -> Path:
        return self.root / "run/munge"

    @property
    def database_socket(self) -> Path:
        return self.root / "run/db"


def write_configuration(layout: Layout) -> None:
    """Write slurm.conf and its companions below the cluster's root."""
    etc = layout.root / "etc"
    for name in ("etc", "run", "log", "state", "spool", "dev", "tmp"):
        (layout.root / name).mkdir()
    hosts = Path("/etc/hosts").read_text(encoding="utf-8") if Path("/etc/hosts").exists() else "127.0.0.1 localhost\n"
    (etc / "hosts").write_text(f"{hosts.rstrip()}\n127.0.0.1 {' '.join(layout.nodes)}\n")
    # stated, not probed: slurmd would end where it does not find the cgroups that it expects
    (etc / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
    for number in range(layout.gpus):
        (layout.root / f"dev/gpu{number}").symlink_to("/dev/null")
    gpus = f"Name=gpu Type={GPU_TYPE} File={layout.root}/dev/gpu[0-{layout.gpus - 1}]\n" if layout.gpus else ""
    (etc / "gres.conf").write_text(gpus)
    layout.conf.write_text(_slurm_conf(layout))
    if layout.accounting:
        slurmdbd = etc / "slurmdbd.conf"
        slurmdbd.touch(0o600)
        slurmdbd.write_text(_slurmdbd_conf(layout))
        (etc / "my.cnf").write_text(_database_conf(layout))


def _listening() -> str:
    """Restrict the daemons to the host name's address where that is loopback; otherwise they listen on all."""
    try:
        own = socket.gethostbyname(socket.gethostname())
    except OSError:
        return ""
    return "CommunicationParameters=NoCtldInAddrAny,NoInAddrAny\n" if own.startswith("127.") else ""


def _slurm_conf(layout: Layout) -> str:
    root, ports = layout.root, layout.ports
    gres = f" Gres=gpu:{GPU_TYPE}:{layout.gpus}" if layout.gpus else ""
    nodes = "\n".join(
        f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[name]}"
        f" CPUs={layout.cpus} RealMemory={layout.memory}{gres}"
        for name in layout.nodes
    )
    accounting = (
        f"""
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports["slurmdbd"]}
AccountingStoragePass={layout.munge_socket}
AccountingStorageEnforce=associations,limits,qos
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill"""
        if layout.accounting
        else """
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none"""
    )
    # cred_expire: a requeued job waits until its old credential has expired, 121 s by default
    # MinJobAge: how long squeue lists an ended job, of which nothing else is known without accounting
    # SlurmdTimeout, BatchStartTimeout: nodes of a busy machine are slow, but not lost
    # ReturnToService=1: a lost node returns to service by itself, one that was set down does not
    return f"""
ClusterName={CLUSTER}
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports["slurmctld"]}
SlurmUser={layout.user}
SlurmdUser={layout.user}
AuthType=auth/munge
AuthInfo=socket={layout.munge_socket},cred_expire=10
{_listening()}StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/run/slurmctld.pid
SlurmdPidFile={root}/run/%n.pid
SlurmctldLogFile={root}/log/slurmctld.log
SlurmdLogFile={root}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU={layout.memory // layout.cpus}
SlurmdParameters=config_overrides
GresTypes=gpu
ReturnToService=1
SlurmdTimeout=120
BatchStartTimeout=120
KillWait=3
MinJobAge=3600
MaxArraySize={layout.max_array_size}
SchedulerParameters=sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE{accounting}
{layout.extra_conf}
{nodes}
PartitionName=DEFAULT Nodes=ALL State=UP MaxTime=INFINITE DefaultTime=10
PartitionName=main Default=YES PriorityTier=10 PreemptMode=OFF
PartitionName=low PriorityTier=1 PreemptMode=REQUEUE
PartitionName=lowcancel PriorityTier=1 PreemptMode=CANCEL
PartitionName=short PriorityTier=10 PreemptMode=OFF MaxTime=1 DefaultTime=1
"""


def _slurmdbd_conf(layout: Layout) -> str:
    return f"""
AuthType=auth/munge
AuthInfo=socket={layout.munge_socket}
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={layout.ports["slurmdbd"]}
{_listening()}SlurmUser={layout.user}
LogFile={layout.root}/log/slurmdbd.log
PidFile={layout.root}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser={layout.user}
StorageLoc=slurm
"""


def _database_conf(layout: Layout) -> str:
    # it is deleted with the cluster: nothing needs to survive a crash
    return f"""
[mariadbd]
user={layout.user}
datadir={layout.root}/db
tmpdir={layout.root}/tmp
socket={layout.database_socket}
pid-file={layout.root}/run/mariadbd.pid
log-error={layout.root}/log/mariadbd.log
skip-networking
skip-name-resolve
skip-log-bin
performance-schema=OFF
innodb_buffer_pool_size=64M
innodb_log_file_size=16M
innodb_lock_wait_timeout=900
innodb_flush_log_at_trx_commit=0
innodb_doublewrite=0
"""
