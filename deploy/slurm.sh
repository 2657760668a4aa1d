#!/bin/bash
# A run on nodes of a Slurm cluster. Submitted again after its time is over, it goes on:
#
#   export STORE=/shared/runs ROBUSTRAY_DATA=/shared/data
#   sbatch --nodes 4 --time 12:00:00 deploy/slurm.sh run robust-training --size paper
#
#SBATCH --job-name=robustray
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --signal=TERM@120
#SBATCH --output=robustray-%j.log
#
# --exclusive: at its end `ray symmetric-run` stops every Ray of a node, others' too.
# --signal: two minutes before the time is over, the command ends as by Ctrl-C; all that was finished is kept.
set -euo pipefail

: "${STORE:?export STORE=/a/folder/that/every/node/reaches}"
if [ "$#" -eq 0 ]; then
    echo "usage: sbatch [...] $0 run STUDY [...]" >&2
    exit 2
fi

# The nodes share the home folder, and so the token, which guards Ray's ports.
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
(umask 077 && ray get-auth-token --generate >/dev/null)
# Ray's sockets need a short path on a local disk; Slurm's TMPDIR is often neither.
export RAY_TMPDIR=/tmp

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
port=$((20000 + SLURM_JOB_ID % 10000)) # above the ports of Ray's workers (10002 to 19999)

exec srun --kill-on-bad-exit=1 \
    ray symmetric-run --address "$head:$port" --min-nodes "$SLURM_JOB_NUM_NODES" -- \
    python -m robustray "$@" --store "$STORE" --address "$head:$port"
