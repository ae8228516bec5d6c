"""Slurm: scheduler, submitit executor, and pairs of command builder and output parser."""
