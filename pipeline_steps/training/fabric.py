"""Where a training runs: device, arithmetic, and how many share it."""

import os
from datetime import timedelta

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy

from pipeline_steps.models.device import make_repeatable, pick_device, uses_bf16

PATIENCE = timedelta(days=7)
"""For which devices wait for the first, which fills the cache of features alone."""


def new_fabric(precision: str, devices: int = 1) -> Fabric:
    """Return Lightning Fabric on a GPU where there is one, launched; ``precision`` as `uses_bf16`.

    With several ``devices`` every one has a process: those that torchrun or srun started, else
    they are started here. Results are repeatable on the same machine.
    """
    device = pick_device()
    make_repeatable(device)
    # torchrun's, or those of a step of srun; an allocation alone has started none
    started = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("SLURM_STEP_NUM_TASKS") or 1)
    if started > 1 and started != devices:
        raise ValueError(f"{started} processes were started, expected {devices} (train.devices)")
    if device.type == "cuda" and torch.cuda.device_count() < devices:
        raise ValueError(
            f"this machine has {torch.cuda.device_count()} GPUs, expected {devices} (train.devices)"
        )
    fabric = Fabric(
        accelerator=device.type,
        devices=devices,
        strategy=DDPStrategy(timeout=PATIENCE) if devices > 1 else "auto",
        plugins=[] if started > 1 else [LightningEnvironment()],
        precision="bf16-mixed" if uses_bf16(device, precision) else "32-true",
    )
    fabric.launch()
    return fabric
