"""PBS Pro and OpenPBS: scheduler, submitit plugin, and pairs of command builder and output parser."""
