"""A valid example of every setting, for messages of refused ones.

The example of a setting is its default, or the entry here where it has no default or a less helpful one. A test checks
that every setting has an example that is valid.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, Final

import yaml
from pydantic import BaseModel

from aiperf_orch.settings.models import SiteSettings
from aiperf_orch.util.units import format_duration

_EXAMPLES: Final[Mapping[str, Any]] = {
    "scheduler.kind": "slurm",
    "system.name": "Big Cluster",
    "system.submitter": "Example University",
    "system.contact": "someone@example.org",
    "system.id": "big-cluster-gpu",
    "system.division": "closed",
    "system.status": "available",
    "system.number_of_nodes": 4,
    "system.host_processor_model_name": "AMD EPYC 7763",
    "system.host_processors_per_node": 2,
    "system.host_processor_core_count": 64,
    "system.host_memory_capacity": "512 GB",
    "system.host_networking": "InfiniBand HDR",
    "system.accelerators_per_node": 8,
    "system.accelerator_model_name": "NVIDIA A100",
    "system.accelerator_memory_capacity": "80 GB",
    "system.accelerator_interconnect": "NVLink",
    "system.accelerator_peak_ops": 312e12,
    "system.operating_system": "Rocky Linux 9",
    "system.other_software_stack": "CUDA 12.4",
    "system.hw_notes": "liquid cooled",
    "scheduler.python": "/shared/aiperf/venv/bin/python",
    "scheduler.setup": ["source /shared/aiperf/env.sh"],
    "scheduler.template": "/shared/aiperf/own.sh.j2",
    "scheduler.workers_per_node": 4,
    "scheduler.gpus_per_trial": 1,
    "scheduler.interface": "ib0",
    "scheduler.modules": ["cuda/12.4"],
    "scheduler.container": "apptainer exec --nv /shared/aiperf.sif",
    "scheduler.account": "ai-benchmark",
    "scheduler.comment": "AIPerf benchmark",
    "scheduler.mail_user": "me@example.org",
    "scheduler.partition": "gpu",
    "scheduler.qos": "normal",
    "scheduler.constraint": "nvlink&ib",
    "scheduler.reservation": "aiperf",
    "scheduler.cluster": "big",
    "scheduler.exclude": "gpu[13-14]",
    "scheduler.cpus_per_task": 8,
    "scheduler.gpus_per_node": 1,
    "scheduler.gpu_type": "a100",
    "scheduler.mail_type": "FAIL",
    "scheduler.queue": "workq",
    "scheduler.project": "aiperf",
    "scheduler.gpus": 1,
    "scheduler.chunk": "gpu_model=a100",
    "scheduler.resources": ["nodes=1:ppn=8"],
    "scheduler.allocations": {"nodes": 64, "time_limit": "12h"},
    "scheduler.allocations.nodes": 64,
    "scheduler.allocations.time_limit": "12h",
    "scheduler.allocations.total": 4,
    "scheduler.allocations.cpus_per_node": 64,
    "scheduler.allocations.gpus_per_node": 8,
    "campaign.max_trials": 20,
    "data.path": "/shared/imagenet",
    "data.loaders": 8,
    "data.stage": "/local/scratch",
    "network.max_parameters": 30_000_000,
    "network.max_operations": 30_000_000,
    "network.max_memory": 70.0,
    "search.first_batch_size": 128,
}
_NAMES: Final = ("modules",)  # lists of names, which have neither blanks nor commas
_MAX_SHOWN: Final = 60  # characters of a given value
_OF_A_SCHEDULER: Final[Mapping[str, Mapping[str, Any]]] = {
    "slurm": {
        "directives": ["--licenses=scratch"],
        "launcher_options": ["--cpu-bind=cores"],
        "memory": "64G",
    },
    "pbs": {"directives": ["-W group_list=hpc"], "launcher_options": ["-n 4 -ppn 1"], "memory": "64gb"},
    "agents": {"setup": [], "template": None},
}
"""Examples that differ between schedulers."""


def example(location: Sequence[str | int], kind: str | None = None, value: Any = None) -> str:
    """A valid value of a setting, as YAML text.

    Args:
        location: section and key; indices of lists are ignored. The example of a section is one of its keys.
        kind: kind of the scheduler, for its section; None for the local one.
        value: the refused value; a text in place of a list of texts becomes the only item.
    """
    keys = [part for part in location if isinstance(part, str)]
    if len(keys) == 1:
        return _of_section(keys[0])
    found = _of(keys, kind or "local")
    is_texts = isinstance(found, list) and all(isinstance(item, str) for item in found)
    if is_texts and isinstance(value, str) and 0 < len(value) <= _MAX_SHOWN and len(keys) == len(location):
        found = re.split(r"[,\s]+", value) if keys[-1] in _NAMES else [value]
    return as_text(found)


def _of_section(name: str) -> str:
    if name == "scheduler":
        return "{kind: slurm}"
    section = SiteSettings.model_fields[name].annotation
    key = next(iter(getattr(section, "model_fields")))  # noqa: B009  every section is a model
    return f"{{{key}: {as_text(_of([name, key], 'local'))}}}"


def as_text(value: Any) -> str:
    """A value as YAML text in one line, with quotes where it needs some."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _of(keys: Sequence[str], kind: str) -> Any:
    if keys[0] == "scheduler" and keys[1] in _OF_A_SCHEDULER.get(kind, {}):
        return _OF_A_SCHEDULER[kind][keys[1]]
    found = _EXAMPLES.get(".".join(keys))
    return _default(keys, kind) if found is None else found


def _default(keys: Sequence[str], kind: str) -> Any:
    """A setting's default, a duration with its unit."""
    scheduler: dict[str, Any] = {"kind": kind}
    if keys[:2] == ["scheduler", "allocations"]:
        scheduler["allocations"] = _EXAMPLES["scheduler.allocations"]
    settings: Any = SiteSettings.model_validate({"scheduler": scheduler})
    owner = reduce(getattr, keys[:-1], settings)
    value = getattr(owner, keys[-1])
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, float) and isinstance(owner.model_dump(mode="json")[keys[-1]], str):
        return format_duration(value)
    return value
