"""Stand-in for OpenPBS: qsub, qstat, qdel and the other programs, which run real jobs on this machine.

A test makes an instance with `instance.Pbs`; the programs in its `bin` behave as in recorded sessions of a real
OpenPBS 23.06.06. Each starts `main`, which works on a locked state directory (`store`); there is no server process.
Each running job has a supervisor (`mom`), and jobs are started when a command runs or a job ends (`server`). `faults`
makes commands hang, fail, or return truncated output. Only modules of the standard library that load fast are used: a
command takes about 50 ms.

test_pbs_standin.py lists the features of PBS that it does not support.
"""
