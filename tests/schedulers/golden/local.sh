#!/usr/bin/env bash
# qk3f9-00042-1: one attempt of one trial of an AIPerf campaign on this machine, bound to 2 core(s).
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
cd -- /scratch/me/campaign/jobs/00042-1

export OMP_NUM_THREADS=2 MKL_NUM_THREADS=2
export SUBMITIT_EXECUTOR=local SUBMITIT_LOCAL_JOB_ID=$$ SUBMITIT_LOCAL_JOB_NUM_NODES=1 SUBMITIT_LOCAL_NTASKS=1
export SUBMITIT_LOCAL_NODEID=0 SUBMITIT_LOCAL_GLOBALID=0 SUBMITIT_LOCAL_LOCALID=0
export AIPERF_ORCH_SHARED=1  # concurrent trials may share accelerators, so that their energy is not one trial's
module load python
export LANG=C

exec taskset --cpu-list 2,3 /opt/python/bin/python -P -u -m aiperf_orch.schedulers.job_process /scratch/me/campaign/jobs/00042-1
