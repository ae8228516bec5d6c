"""An example of each command, which `--help` and the documentation show; a test checks that each one can be parsed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = {
    "init": ("aiperf-orch init --output site.yaml",),
    "explain": ("aiperf-orch explain campaign.duration", "aiperf-orch explain scheduler.memory site.yaml"),
    "completion": (
        "aiperf-orch completion bash > ~/.aiperf-orch.bash",
        "aiperf-orch completion zsh > ~/.aiperf-orch.zsh",
        "aiperf-orch completion fish > ~/.config/fish/completions/aiperf-orch.fish",
    ),
    "check": (
        "aiperf-orch check site.yaml --duration 12h --concurrency 512",
        "aiperf-orch check site.yaml --every-node --wait 10m",
    ),
    "plan": ("aiperf-orch plan site.yaml --nodes 64 --duration 12h --from campaigns/first --output plan.json",),
    "run": (
        "aiperf-orch run site_configs/local.yaml",
        "aiperf-orch run site.yaml --duration 12h --campaign-dir campaigns/first --detach",
        "aiperf-orch run --campaign-dir campaigns/first",
        "aiperf-orch run site.yaml --set campaign.max_trials=4 --set scheduler.partition=debug --dry-run",
    ),
    "tick": ("aiperf-orch tick campaigns/first",),
    "status": (
        "aiperf-orch status",
        "aiperf-orch status campaigns/first --failed",
        "aiperf-orch status campaigns/first --trial 17",
        "aiperf-orch status campaigns/first --watch",
    ),
    "log": ("aiperf-orch log campaigns/first 17", "aiperf-orch log campaigns/first 17 --follow"),
    "stop": ("aiperf-orch stop campaigns/first",),
    "set": ("aiperf-orch set campaigns/first account=abc123 concurrency=512",),
    "drain": ("aiperf-orch drain campaigns/first n17 n18 --now", "aiperf-orch drain campaigns/first n17 --undo"),
    "score": ("aiperf-orch score campaigns/first --format json",),
    "report": ("aiperf-orch report campaigns/first --output first.html",),
    "meter": ("aiperf-orch meter campaigns/first pdu.csv --source pdu --point upstream --accuracy 1% --sampling 1s",),
    "package": ("aiperf-orch package campaigns/first --output first.tar.gz --sign ~/.ssh/id_ed25519",),
    "mail": (
        "aiperf-orch mail campaigns/first --from me@site.example --to rank@committee.example --smtp mail.site.example",
    ),
    "verify": ("aiperf-orch verify first.tar.gz --signers committee-signers --replay 20",),
    "evaluate": ("aiperf-orch evaluate first.tar.gz --data /shared/imagenet",),
    "rank": ("aiperf-orch rank first.tar.gz second.tar.gz --signers committee-signers --output website",),
    "scaling": ("aiperf-orch scaling campaigns/small campaigns/large --by accelerators --output scaling.html",),
    "compare": ("aiperf-orch compare first.tar.gz second.tar.gz --output comparison.html",),
    "export-network": ("aiperf-orch export-network campaigns/first --output network",),
    "agent": ("srun --ntasks-per-node=1 aiperf-orch agent campaigns/first",),
    "render": ("aiperf-orch render site.yaml",),
    "ops": ("aiperf-orch ops resnet50 --by-layer",),
    "trial": ("aiperf-orch trial campaigns/first/trials/00017.json",),
    "data": (
        "aiperf-orch data pack /shared/imagenet /shared/imagenet-packed",
        "aiperf-orch data verify /shared/imagenet-packed --against /shared/imagenet",
    ),
    "bench-node": (
        "aiperf-orch bench-node site.yaml --format json",
        "aiperf-orch bench-node site.yaml --tune --write",
    ),
}
"""Command -> lines for a shell."""
