"""Tools of a ranking committee: submissions, ranking, weak scaling, mail."""
