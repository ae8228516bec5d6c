"""Results of a campaign: score, rules, tables and report."""
