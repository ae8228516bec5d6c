"""Packages of results: packing, redaction, reading, signature and verification."""
