#!/usr/bin/env bash
#SBATCH --job-name=qk3f9-00042-1
#SBATCH --partition=compute
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=64
#SBATCH --mem=0
#SBATCH --exclusive
#SBATCH --time=0-08:00:00
#SBATCH --signal=USR1@300
#SBATCH --no-requeue
#SBATCH --output=log
#SBATCH --open-mode=append

# qk3f9-00042-1: one attempt of one trial of an AIPerf campaign.
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
folder=/scratch/me/campaign/jobs/00042-1
job=$SLURM_JOB_ID
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
export OMP_NUM_THREADS=64
set +u  # modules and environments use unset variables
export OMP_PROC_BIND=close OMP_PLACES=cores

exec srun --nodes=1 --ntasks=1 --ntasks-per-node=1 --cpus-per-task=64 --kill-on-bad-exit=1 --unbuffered \
    bash -c 'trap "" USR1; exec "$@"' trial \
    /opt/python/bin/python -P -u -m aiperf_orch.schedulers.job_process "$folder"
