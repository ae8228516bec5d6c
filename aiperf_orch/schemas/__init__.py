"""JSON Schemas of the files of campaigns and packages, installed with the package as aiperf_orch.schemas."""
