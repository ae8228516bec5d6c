"""Campaign directory: paths, formats, journal, state, events and lock, and how each file is written and read."""
