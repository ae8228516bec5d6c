"""Names of the files in a job's folder that batch systems share. Imports nothing: submitit's plugin is loaded in every job."""

from __future__ import annotations

from typing import Final

PICKLE: Final = "submitted.pkl"
"""What submitit runs; the job's script gives it the name that submitit looks for."""

SCRIPT: Final = "job.sh"
"""The batch script, as it was submitted."""
