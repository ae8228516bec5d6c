"""The site files, shipped inside the package as aiperf_orch.site_configs."""
