"""Names of the files in a job's folder, and of the module that it runs.

Imports nothing: submitit's plugin is loaded in every job.
"""

from __future__ import annotations

from typing import Final

PICKLE: Final = "submitted.pkl"
"""The function that submitit runs; the job's script gives it the name that submitit expects."""

SCRIPT: Final = "job.sh"
"""The batch script, as it was submitted."""

LOG: Final = "log"
"""Standard output and standard error of the job."""

SUBMIT_MODULE: Final = "aiperf_orch.schedulers.job_process"
"""The module that a batch script runs, which calls submitit."""
