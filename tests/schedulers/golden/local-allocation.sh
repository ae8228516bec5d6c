#!/usr/bin/env bash
# qk3f9-a00001: an agent for the trials of an AIPerf campaign on this machine, bound to 2 core(s).
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
cd -- /scratch/me/campaign/jobs/qk3f9-a00001

export SUBMITIT_EXECUTOR=local SUBMITIT_LOCAL_JOB_ID=$$ SUBMITIT_LOCAL_JOB_NUM_NODES=1 SUBMITIT_LOCAL_NTASKS=1
export SUBMITIT_LOCAL_NODEID=0 SUBMITIT_LOCAL_GLOBALID=0 SUBMITIT_LOCAL_LOCALID=0
export AIPERF_ORCH_JOB_ID=$$
AIPERF_ORCH_HOSTS=$(uname -n)
export AIPERF_ORCH_HOSTS

exec taskset --cpu-list 2,3 /opt/python/bin/python -P -u -m aiperf_orch.schedulers.job_process /scratch/me/campaign/jobs/qk3f9-a00001
