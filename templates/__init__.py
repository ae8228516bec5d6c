"""Templates of batch scripts, site files and reports, installed with the package as aiperf_orch.templates."""
