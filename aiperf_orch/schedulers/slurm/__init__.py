"""Slurm: a submitit executor for our batch script, and the queue as pairs of command builder and output parser."""
