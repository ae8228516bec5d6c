"""aiperf-orch: the AIPerf AI-HPC benchmark, run on any cluster from its login node."""

__version__ = "0.2.0.dev0"
