#!/bin/bash
#PBS -N qk3f9-00042-1
#PBS -S /bin/bash
#PBS -q workq
#PBS -l select=1:ncpus=64:mpiprocs=1
#PBS -l place=scatter:excl
#PBS -l walltime=04:00:00
#PBS -r n
#PBS -j oe
#PBS -o pbs.log
#PBS -W umask=077
#PBS -m n

# qk3f9-00042-1: one attempt of one trial of an AIPerf campaign
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
folder=/scratch/me/campaign/jobs/00042-1
cd -- "$folder"
exec >>log 2>&1

id=$PBS_JOBID job=${PBS_JOBID%%.*}
hosts=$(awk '!seen[$0]++' "$PBS_NODEFILE" | paste -sd, -)
rank=0
# The warning of PBS comes too late before the walltime: the trial stops at this time without it.
deadline=$(( $(date +%s) + 14280 ))
ln -sf submitted.pkl "${job}_submitted.pkl"

export SUBMITIT_EXECUTOR=pbs SUBMITIT_PBS_JOB_ID=$job SUBMITIT_PBS_RANK=$rank SUBMITIT_PBS_NTASKS=1
export SUBMITIT_PBS_NNODES=1 SUBMITIT_PBS_HOSTS=$hosts
export SUBMITIT_PBS_NODE=$rank SUBMITIT_PBS_LOCAL_RANK=0
export AIPERF_ORCH_JOB_ID=$id AIPERF_ORCH_HOSTS=$hosts AIPERF_ORCH_RANK=$rank
export AIPERF_ORCH_WARN_AT=$deadline
export AIPERF_ORCH_REQUEUE=0
export AIPERF_ORCH_RUN=0
export OMP_NUM_THREADS=64

exec /opt/python/bin/python -P -u -m aiperf_orch.schedulers.job_process "$folder"
