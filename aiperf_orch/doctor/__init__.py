"""What `check` looks at: the scheduler, the place of the campaign, and a small job that looks from a node."""
