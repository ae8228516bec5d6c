"""The controller: one step observes, records, decides, and begins scheduler calls; `loop.run` repeats it."""
