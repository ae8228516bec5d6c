"""What comes out of a campaign: the score, the rules' verdict, the tables."""
