"""Processes of a trial: attempt, rendezvous of nodes, worker pool, process group, telemetry."""
