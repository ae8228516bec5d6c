#!/usr/bin/env bash
#SBATCH --job-name=qk3f9-w00000
#SBATCH --array=0-2,7
#SBATCH --partition=gpu
#SBATCH --reservation=aiperf
#SBATCH --constraint=[rack1|rack2]
#SBATCH --clusters=big
#SBATCH --exclude=n7,n3,n4
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=h100:4
#SBATCH --time=0-00:01:30
#SBATCH --signal=USR1@120
#SBATCH --no-requeue
#SBATCH --output=log
#SBATCH --open-mode=append

# qk3f9-w00000: 4 trials of an AIPerf campaign.
set -euo pipefail
umask 077
# job steps get the environment of this script, also with --export=NONE
export PATH SLURM_EXPORT_ENV=ALL
# credentials of the submitter are not for the job: they may have expired
unset SLURM_JWT SLURM_CLUSTERS

campaign=/scratch/me/campaign
if [[ ! -d $campaign ]]; then
    echo "refused: $(uname -n) does not see $campaign: is it on a file system that the nodes share, and mounted there?" >&2
    exit 78
fi
if [[ ! -O $campaign ]] || (( 8#$(stat --format=%a -- "$campaign") & 8#022 )); then
    echo "refused: $campaign is somebody else's, or others can write it" >&2
    exit 78
fi
folders=(
    [0]=/scratch/me/campaign/jobs/00000-1
    [1]=/scratch/me/campaign/jobs/00001-1
    [2]=/scratch/me/campaign/jobs/00002-1
    [7]=/scratch/me/campaign/jobs/00007-1
)
folder=${folders[SLURM_ARRAY_TASK_ID]}
job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
cd -- "$folder"
exec >>log 2>&1
if (( ${SLURM_RESTART_COUNT:-0} )); then
    echo "aiperf-orch: run $SLURM_RESTART_COUNT of job $job"
fi
ln -sf submitted.pkl "${job}_submitted.pkl"

export SUBMITIT_EXECUTOR=slurm
export AIPERF_ORCH_JOB_ID=$job AIPERF_ORCH_RUN=${SLURM_RESTART_COUNT:-0}
export AIPERF_ORCH_REQUEUE=0
AIPERF_ORCH_HOSTS=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | paste -sd, -)
export AIPERF_ORCH_HOSTS
export AIPERF_ORCH_WORKERS=4
export AIPERF_ORCH_ACCELERATORS=4
export AIPERF_ORCH_PORTS=29400-29499

exec srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --kill-on-bad-exit=0 --wait=0 --unbuffered \
    bash -c 'trap "" USR1; exec "$@"' trial \
    /opt/python/bin/python -P -u -m aiperf_orch.schedulers.job_process "$folder"
