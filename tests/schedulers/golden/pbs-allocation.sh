#!/bin/bash
#PBS -N qk3f9-a00001
#PBS -S /bin/bash
#PBS -l select=3:ncpus=64:ngpus=8:mem=480gb:mpiprocs=1
#PBS -l place=scatter
#PBS -l walltime=01:56:40
#PBS -r n
#PBS -W tolerate_node_failures=all
#PBS -W depend=afterany:17
#PBS -j oe
#PBS -o pbs.log
#PBS -W umask=077
#PBS -m n

# qk3f9-a00001: an allocation for the trials of an AIPerf campaign, with an agent on each of its 3 node(s).
set -euo pipefail
umask 077

campaign=/scratch/me/campaign
if [[ ! -d $campaign ]]; then
    echo "refused: $(uname -n) does not see $campaign: is it on a file system that the nodes share, and mounted there?" >&2
    exit 78
fi
if [[ ! -O $campaign ]] || (( 8#$(stat --format=%a -- "$campaign") & 8#022 )); then
    echo "refused: $campaign is somebody else's, or others can write it" >&2
    exit 78
fi

# PBS delivers the output of a job only after its end: write it to the shared folder immediately instead.
folder=/scratch/me/campaign/jobs/qk3f9-a00001
cd -- "$folder"
exec >>log 2>&1

# Each task runs this script as `job.sh task RANK ID HOSTS DEADLINE`: remote tasks do not inherit the environment
# of the script, and an MPI that starts them by ssh passes no variables of PBS.
if [[ ${1:-} == task ]]; then
    rank=$2 id=$3 job=${3%%.*} hosts=$4 deadline=$5
else
    id=$PBS_JOBID job=${PBS_JOBID%%.*}
    hosts=$(awk '!seen[$0]++' "$PBS_NODEFILE" | paste -sd, -)
    rank=0
    deadline=$(( $(date +%s) + 7000 ))
    trap '' TERM  # when PBS ends the job, this script goes on until the agents have ended
    ln -sf submitted.pkl "${job}_submitted.pkl"
    # the node file may contain a node several times: keep its first line number and its name
    mapfile -t nodes < <(awk '!seen[$0]++ { print NR - 1, $0 }' "$PBS_NODEFILE")
    found=$(sort -u "$PBS_NODEFILE" | wc -l)
    if (( found < 3 )); then
        echo "the allocation has $found host(s) instead of 3: use place=scatter" >&2
        exit 71
    fi
    run_task() {
        pbs_tmrsh "${nodes[$1]#* }" \
            /bin/bash "$folder/job.sh" task "$1" "$id" "$hosts" "$deadline" </dev/null
    }
    for task in {0..2}; do run_task "$task" & done
    wait  # for all agents: the loss of one does not end the others
    exit 0
fi

export SUBMITIT_EXECUTOR=pbs SUBMITIT_PBS_JOB_ID=$job SUBMITIT_PBS_RANK=$rank SUBMITIT_PBS_NTASKS=3
export SUBMITIT_PBS_NNODES=3 SUBMITIT_PBS_HOSTS=$hosts
export SUBMITIT_PBS_NODE=$rank SUBMITIT_PBS_LOCAL_RANK=0
export AIPERF_ORCH_JOB_ID=$id AIPERF_ORCH_HOSTS=$hosts AIPERF_ORCH_RANK=$rank
export AIPERF_ORCH_ENDS_AT=$deadline
unset OMP_NUM_THREADS  # PBS sets it to the cores of a node
set +u  # modules and environments may use variables that are not set
type module >/dev/null 2>&1 || { set +e; . /etc/profile; set -e; }  # commands in it may fail
module load cuda
export A=1

exec /opt/python/bin/python -P -u -m aiperf_orch.schedulers.job_process "$folder"
