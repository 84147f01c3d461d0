import os
import platform
import subprocess
import sys

import pytest
import torch

from pipeline_steps.models.device import autocast, cores, pick_device, uses_bf16
from tests.conftest import ROOT

PAGES = """
import resource, torch
from pipeline_steps.models.device import keep_memory

layers = torch.nn.Sequential(*[torch.nn.Conv2d(32, 32, 3, padding=1) for _ in range(6)])

def asked_for(passes):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    with torch.no_grad():
        for _ in range(passes):
            layers(torch.zeros(4, 32, 256, 256))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

asked_for(1)
print(asked_for(8))
keep_memory()
asked_for(1)
print(asked_for(8))
"""
"""Prints how many pages eight forward passes ask the system for, before and after."""


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
    # in a process of its own: what was freed before in this one would be used again as well
    said = subprocess.run(
        [sys.executable, "-c", PAGES], cwd=ROOT, capture_output=True, text=True, check=True
    )
    left, kept = map(int, said.stdout.split())
    assert kept < left / 4


@pytest.mark.parametrize("given, most", [("", 999), ("1", 1), ("999", 999), ("no number", 999)])
def test_a_run_without_gpu_uses_the_cores_it_may_have_and_is_given(monkeypatch, given, most):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    before = torch.get_num_threads()

    try:
        assert pick_device() == torch.device("cpu")
        assert torch.get_num_threads() == cores() == min(most, len(os.sched_getaffinity(0)))
    finally:
        torch.set_num_threads(before)
