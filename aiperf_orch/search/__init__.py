"""Which network and which hyperparameters next, without torch."""

from aiperf_orch.search.forecast import forecast_error
from aiperf_orch.search.search import Proposal, Search

__all__ = ["Proposal", "Search", "forecast_error"]
