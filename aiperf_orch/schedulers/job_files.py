"""Names that batch systems and submitit share. Imports nothing: submitit's plugin is loaded in every job."""

from __future__ import annotations

from typing import Final

PICKLE: Final = "submitted.pkl"
"""The function that submitit runs; the batch script links it to the name that submitit expects."""

SCRIPT: Final = "job.sh"
"""The batch script, as it was submitted."""

SUBMIT_MODULE: Final = "submitit.core._submit"
"""The module of submitit that a batch script runs, private to submitit: see `submitit_adapter`."""
