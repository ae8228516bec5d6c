"""Processes of a trial: attempt runner, rendezvous, worker pool, workers, process group and telemetry."""
