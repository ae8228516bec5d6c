"""Choice of a site's settings by measurements of trials on one node (`bench-node --tune`)."""
