"""The agent: the one process on a node of an allocation that starts the trials there."""
