"""A stand-in for OpenPBS: qsub, qstat, qdel and their kin as programs that really run jobs on this machine.

A test makes an instance with `instance.Pbs`; the programs in its `bin` are faithful to recorded sessions of a real
OpenPBS 23.06.06. Each starts `main`, which works on a locked state directory (`store`); there is no server process.
Every running job has a small supervisor (`mom`), and jobs are started whenever a command runs or a job ends
(`server`). `faults` makes commands hang, refuse or lie. Only the standard library is used, and only what starts fast:
a command takes about 50 ms.

What it does not imitate stands in test_pbs_standin.py.
"""
