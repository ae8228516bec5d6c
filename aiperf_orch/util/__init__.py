"""Helpers without knowledge of the benchmark: errors, units, text, signals, users. Imports no other room."""
