import os
import platform
import resource

import pytest
import torch

from pipeline_steps.models.device import autocast, cores, keep_memory, pick_device, uses_bf16


@pytest.mark.parametrize("precision, dtype", [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_the_arithmetic_is_the_one_asked_for(precision, dtype):
    with autocast(torch.device("cpu"), precision):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


@pytest.mark.parametrize("precision, found", [("fp32", False), ("bf16", True)])
def test_bf16_is_used_where_it_is_asked_for(precision, found):
    assert uses_bf16(torch.device("cpu"), precision) is found


@pytest.mark.parametrize("capable", [True, False])
def test_by_itself_bf16_is_used_where_the_hardware_multiplies_it(monkeypatch, capable):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": capable})

    assert uses_bf16(torch.device("cpu"), "auto") is capable


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_memory_that_is_freed_is_used_again_without_asking_the_system():
    keep_memory()

    def pages_asked_for():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(16 * 2**20)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    assert pages_asked_for() > 0
    assert pages_asked_for() < 16 * 2**22 / resource.getpagesize() / 10


def test_a_run_without_gpu_uses_the_cores_it_may_have(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    before = torch.get_num_threads()

    try:
        assert pick_device() == torch.device("cpu")
        assert torch.get_num_threads() == cores() == len(os.sched_getaffinity(0))
    finally:
        torch.set_num_threads(before)
