"""What shells of clusters and other launchers leave behind; as a program, trains under each."""

import os
import sys
import tempfile
from pathlib import Path

LEFT_BEHIND = {
    "fabric": {
        **{"LT_DEVICES": "2", "LT_ACCELERATOR": "cuda", "LT_PRECISION": "16-mixed"},
        **{"LT_NUM_NODES": "4", "LT_STRATEGY": "ddp", "LT_CLI_USED": "1"},
    },
    "launcher": {
        **{"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "4"},
        **{"NODE_RANK": "1", "GROUP_RANK": "1", "MASTER_ADDR": "192.0.2.1", "MASTER_PORT": "1"},
    },
    "torchelastic": {
        **{"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_RESTART_COUNT": "1"},
        **{"TORCHELASTIC_USE_AGENT_STORE": "True", "GROUP_RANK": "1", "RANK": "3"},
        **{"WORLD_SIZE": "8", "LOCAL_RANK": "3", "MASTER_ADDR": "192.0.2.1", "MASTER_PORT": "1"},
    },
    "slurm": {
        **{"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "8"},
        **{"SLURM_PROCID": "3", "SLURM_LOCALID": "3", "SLURM_NODEID": "1", "SLURM_NNODES": "2"},
        **{"SLURM_NTASKS_PER_NODE": "4", "SLURM_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2"},
    },
    "lsf": {
        **{"LSB_JOBID": "7", "LSB_DJOB_RANKFILE": "/nowhere", "LSB_HOSTS": "one two"},
        **{"JSM_NAMESPACE_SIZE": "8", "JSM_NAMESPACE_RANK": "3", "JSM_NAMESPACE_LOCAL_RANK": "3"},
    },
    "mpi": {
        **{"PMI_RANK": "3", "PMI_SIZE": "8", "PMI_LOCAL_RANK": "3"},
        **{"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "8"},
        **{"OMPI_COMM_WORLD_LOCAL_RANK": "3", "MV2_COMM_WORLD_RANK": "3"},
    },
    "kubeflow": {
        **{"KUBERNETES_PORT": "tcp://192.0.2.1:443", "MASTER_ADDR": "192.0.2.1"},
        **{"MASTER_PORT": "1", "WORLD_SIZE": "8", "RANK": "3"},
    },
}
ALL = {name: value for family in LEFT_BEHIND.values() for name, value in family.items()}


def train_under(family):
    """Three steps of a line, and what they end with."""
    import torch
    from torch import nn

    from contrabench.contracts.objective import StepResult
    from contrabench.progress import Silent
    from contrabench.protocol import Phase
    from contrabench.training.loop import fit
    from contrabench.training.runtime import make_runtime
    from contrabench.training.step import Step, TrainingTask

    class Line(TrainingTask):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def batch(self, step, part, parts):
            return torch.full((3,), 1.0 + step)

        def forward(self, batch):
            return StepResult((self.weight * batch).square().sum(), {})

    os.environ.update(family)
    try:
        phase, task = Phase(images=12, batch=4, lr=0.1), Line()
        with tempfile.TemporaryDirectory() as folder:
            step = Step(task, phase, make_runtime("cpu", threads=1), 3)
            record = fit(step, Path(folder), Silent(), "line")
        return record.steps, task.weight.detach().tolist()
    finally:
        for name in family:
            os.environ.pop(name, None)


if __name__ == "__main__":
    plain = train_under({})
    for name, family in LEFT_BEHIND.items():
        if (found := train_under(family)) != plain or plain[0] != 3:
            sys.exit(f"{name}: {found}, and {plain} without")
