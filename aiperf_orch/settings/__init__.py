"""Settings of a campaign: models with defaults and bounds, and the loading of site files."""
