#!/usr/bin/env bash
#SBATCH --job-name=qk3f9-00042-1
#SBATCH --partition=batch,preempt
#SBATCH --account=ai-benchmark
#SBATCH --qos=benchmark
#SBATCH --exclude=gpu[13-14]
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --mem=120G
#SBATCH --gres=gpu:a100:1
#SBATCH --time=1-00:00:00
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --comment="AIPerf benchmark"
#SBATCH --mail-user=hpc@example.org
#SBATCH --mail-type=FAIL
#SBATCH --output=log
#SBATCH --open-mode=append
#SBATCH --gpu-bind=closest
#SBATCH --licenses=scratch

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
export AIPERF_ORCH_REQUEUE=1
AIPERF_ORCH_HOSTS=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | paste -sd, -)
export AIPERF_ORCH_HOSTS
export AIPERF_ORCH_WORKERS=1
export AIPERF_ORCH_ACCELERATORS=1
export OMP_NUM_THREADS=16
set +u  # modules and environments use unset variables
type module >/dev/null 2>&1 || { set +e; . /etc/profile; set -e; }  # /etc/profile may contain failing commands
module load apptainer

exec srun --nodes=1 --ntasks=1 --ntasks-per-node=1 --cpus-per-task=16 --kill-on-bad-exit=1 --unbuffered --cpu-bind=cores \
    bash -c 'trap "" USR1; exec "$@"' trial \
    apptainer exec --nv --bind /shared /shared/aiperf.sif /opt/python/bin/python -P -u -m aiperf_orch.schedulers.job_process "$folder"
