"""The batch script templates, shipped inside the package as aiperf_orch.templates."""
