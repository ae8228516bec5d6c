"""Placement of attempts on agents, which run them in slots of nodes that an allocation holds."""
