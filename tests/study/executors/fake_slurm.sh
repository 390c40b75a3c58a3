#!/usr/bin/env bash
# A cluster of one node: sbatch, srun, squeue, scancel, sacct and sinfo by the name it is called by.
# In $FAKE_SLURM lie, for each job, `ID.job` with the process of its script and `ID.step` with that
# of its step. Every call is noted in `calls`.
set -eu
cd "$FAKE_SLURM"
name=$(basename "$0")
echo "$name $*" >> calls
case $name in
sbatch)
    [ -e refuse ] && { echo "sbatch: error: invalid partition specified: $(cat refuse)" >&2; exit 1; }
    id=$(($(wc -l < ids) + 101))
    echo "$id" >> ids
    cp "$1" "$id.script"
    # Standard streams are closed, or whoever reads the answer would wait for the job as well.
    SLURM_JOB_ID=$id setsid bash "$1" < /dev/null > /dev/null 2>&1 &
    echo $! > "$id.job"
    echo "Submitted batch job $id"
    ;;
srun)
    while [ "${1#--}" != "$1" ]; do
        case $1 in
        --output) out=$2; shift 2 ;;
        --error) err=$2; shift 2 ;;
        *) shift ;;
        esac
    done
    echo $$ > "$SLURM_JOB_ID.step"
    out=${out//%j/$SLURM_JOB_ID}
    err=${err//%j/$SLURM_JOB_ID}
    cd "$OLDPWD"
    exec "$@" > "${out//%t/0}" 2> "${err//%t/0}"
    ;;
squeue)
    [ -e silent ] && exit 1
    for job in *.job; do
        kill -0 "$(cat "$job")" 2> /dev/null && echo "${job%.job}"
    done
    true
    ;;
scancel)
    signal=TERM
    for word in "$@"; do
        case $word in
        --state=PENDING) exit 0 ;;
        --signal=*) signal=${word#*=} ;;
        *) kill -"$signal" "$(cat "$word.step")" 2> /dev/null || true ;;
        esac
    done
    ;;
sacct)
    echo "JobID|State|NodeList"
    for job in *.job; do echo "${job%.job}|NODE_FAIL|one"; done
    ;;
sinfo) cat gres ;;
esac
