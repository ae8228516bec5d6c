"""Which network and which hyperparameters next, without torch."""
