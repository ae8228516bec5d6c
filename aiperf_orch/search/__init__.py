"""Architecture and hyperparameter search: proposes the next trial; does not import torch."""

from aiperf_orch.search.forecast import forecast_error
from aiperf_orch.search.search import Proposal, Search

__all__ = ["Proposal", "Search", "forecast_error"]
