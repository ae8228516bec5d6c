"""Sources of a node's telemetry: one module for each driver or kernel interface. None of them loads torch."""
