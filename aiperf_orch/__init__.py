"""aiperf-orch: the AIPerf AI-HPC benchmark, run on any cluster from its login node."""

__version__ = "0.1.0"
