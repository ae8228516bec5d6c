"""The controller: tick() observes, records, decides and submits; run() is tick in a loop."""
