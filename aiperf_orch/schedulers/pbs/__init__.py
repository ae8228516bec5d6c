"""PBS Pro and OpenPBS: a submitit plugin for our batch script, and the queue as pairs of command builder and output parser."""
