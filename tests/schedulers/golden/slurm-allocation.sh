#!/usr/bin/env bash
#SBATCH --job-name=qk3f9-a00001
#SBATCH --nodes=184
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=64
#SBATCH --mem=480G
#SBATCH --gres=gpu:8
#SBATCH --time=0-01:56:40
#SBATCH --no-kill
#SBATCH --no-requeue
#SBATCH --dependency=afterany:17
#SBATCH --output=log
#SBATCH --open-mode=append

# qk3f9-a00001: an allocation for the trials of an AIPerf campaign, with an agent on each of its 184 node(s).
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
folder=/scratch/me/campaign/jobs/qk3f9-a00001
job=$SLURM_JOB_ID
cd -- "$folder"
exec >>log 2>&1
if (( ${SLURM_RESTART_COUNT:-0} )); then
    echo "aiperf-orch: run $SLURM_RESTART_COUNT of job $job"
fi
ln -sf submitted.pkl "${job}_submitted.pkl"

export SUBMITIT_EXECUTOR=slurm
export AIPERF_ORCH_JOB_ID=$job AIPERF_ORCH_ENDS_AT=${SLURM_JOB_END_TIME:-$(( $(date +%s) + 7000 ))}
AIPERF_ORCH_HOSTS=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | paste -sd, -)
export AIPERF_ORCH_HOSTS
set +u  # modules and environments use unset variables
type module >/dev/null 2>&1 || { set +e; . /etc/profile; set -e; }  # /etc/profile may contain failing commands
module load cuda
export A=1

exec srun --nodes=184 --ntasks=184 --ntasks-per-node=1 --cpus-per-task=64 --no-kill --kill-on-bad-exit=0 --wait=0 --unbuffered \
    /opt/python/bin/python -P -u -m aiperf_orch.schedulers.job_process "$folder"
