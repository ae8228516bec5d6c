"""Helpers without knowledge of campaigns: errors, text, units, users, GPUs, signals, JSON, temporary folders."""
