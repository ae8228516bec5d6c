"""Site files, installed with the package as aiperf_orch.site_configs."""
