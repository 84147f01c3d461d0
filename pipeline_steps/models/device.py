"""Where networks run: a GPU where there is one, the processor otherwise."""

import contextlib
import ctypes
import logging
import os

import torch

log = logging.getLogger(__name__)

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""glibc's names in malloc.h."""


def pick_device() -> torch.device:
    """Return the device to use, and log which; on the CPU, take the cores this process may have."""
    if torch.cuda.is_available():
        device = torch.device("cuda")
        log.info("device: %s (%s)", device, torch.cuda.get_device_name(device))
        return device
    torch.set_num_threads(cores())
    keep_memory()
    log.info("device: cpu (%d threads)", torch.get_num_threads())
    return torch.device("cpu")


def cores() -> int:
    """Return how many cores this process may have: Snakemake says it as `OMP_NUM_THREADS`."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get("OMP_NUM_THREADS", "")
    return min(own, int(given)) if given.isdecimal() and int(given) else own


def keep_memory() -> None:
    """Let the allocator keep large blocks that are freed, up to half a gigabyte, where it can.

    It would give each back to the system and ask for it again in the next layer; clearing those
    pages takes an eighth of a forward pass on a CPU. Only glibc can be told so.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 256 * 2**20)
        libc.mallopt(M_TRIM_THRESHOLD, 512 * 2**20)


def make_repeatable(device: torch.device) -> None:
    """Let a training give the same weights each time: on a GPU, choose kernels that do.

    Where an operation has none, torch warns in the log. The CPU's are so by themselves.
    """
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True, warn_only=True)


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """Return a forward pass's arithmetic, as ``uses_bf16`` has it."""
    enabled = uses_bf16(device, precision)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def uses_bf16(device: torch.device, precision: str) -> bool:
    """Return whether to multiply in bf16: ``auto`` does so where the hardware does."""
    return precision == "bf16" or (precision == "auto" and _multiplies_bf16(device))


def _multiplies_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu.get_capabilities().get("avx512_bf16", False)
