"""Records on disk: trial specifications, events, journal entries and probe reports, as typed wire formats."""
