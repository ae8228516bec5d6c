"""Stand-in for a command of a batch system: runs the real one, and fails at random while the file $FAULTY exists.

Called as `python faulty_command.py REAL ARGUMENT ...`, with $FAULTY_SEED and $FAULTY_COMMANDS_ONE_IN, by programs that
`controller.random_faults` puts before the real ones on PATH. It imports little, because each command pays for it.
"""

import os
import pathlib
import random
import subprocess
import sys
import time

REFUSED = {
    "q": "{0}: cannot connect to server vm (errno=15008)",
    "s": "{0}: error: Socket timed out on send/recv operation",
}


def main(real, *arguments):
    """Run the real command, perhaps with a fault; returns the exit status."""
    in_job = "SLURM_JOB_ID" in os.environ or "PBS_JOBID" in os.environ
    chance = random.Random(f"{os.environ.get('FAULTY_SEED')}-{os.getpid()}")
    one_in = int(os.environ.get("FAULTY_COMMANDS_ONE_IN", "4"))
    if in_job or not pathlib.Path(os.environ.get("FAULTY", "")).exists() or chance.randrange(one_in):
        os.execv(real, [real, *arguments])
    kind = chance.choice(["late", "refused", "lost", "cut", "empty", "banner", "note"])
    program = real.rpartition("/")[2]
    refusal = REFUSED.get(program[0], "{0}: no answer").format(program)
    with open(os.environ["FAULTY_LOG"], "a", encoding="utf-8") as log:  # noqa: PTH123  pathlib takes long to import
        log.write(f"{program} {kind}\n")
    if kind == "refused":
        print(refusal, file=sys.stderr)
        return 1
    if kind == "late":
        time.sleep(chance.uniform(0.2, 3))
    done = subprocess.run([real, *arguments], capture_output=True, check=False)
    output, errors, status = done.stdout, done.stderr, done.returncode
    if kind == "lost":  # the work is done, and the answer is not
        output, errors, status = b"", refusal.encode() + b"\n", 1
    elif kind == "cut" and program not in ("sbatch", "qsub"):  # their one line comes whole, or not at all
        output = output[: chance.randrange(len(output) + 1)]
    elif kind in ("cut", "empty"):
        output = b""
    elif kind == "banner":
        output = b"*** Maintenance on Tuesday, 08:00 | all nodes ***\n" + output
    elif kind == "note":
        errors = b"note: the file system is busy\n" + errors
    sys.stdout.buffer.write(output)
    sys.stderr.buffer.write(errors)
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
