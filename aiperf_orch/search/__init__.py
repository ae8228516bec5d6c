"""Architecture and hyperparameter search: proposes the next trial; does not import torch."""

from aiperf_orch.search.forecast import forecast_error
from aiperf_orch.search.journal_search import JournalSearch, make_search
from aiperf_orch.search.search import SEARCH_VERSION, Proposal, Search

__all__ = ["SEARCH_VERSION", "JournalSearch", "Proposal", "Search", "forecast_error", "make_search"]
