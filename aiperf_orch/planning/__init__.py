"""Plan of a campaign: what it will bring, predicted from measurements of another one or of a node."""
