"""Schedulers: submitit executors that render our batch script templates, and queue queries."""
