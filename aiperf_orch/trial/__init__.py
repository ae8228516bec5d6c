"""What runs inside an allocation (`python -m aiperf_orch.trial SPEC`); the only room that imports torch."""
