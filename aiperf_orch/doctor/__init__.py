"""Checks of `check`: the scheduler, the location of the campaign, and a probe job on the compute nodes."""
