"""Schedulers: they render batch scripts from templates, submit, query and cancel jobs, and read accounting."""
