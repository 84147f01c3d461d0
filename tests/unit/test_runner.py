import importlib.util
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._inductor import config as inductor

from pipeline_steps.models import runner as runners
from pipeline_steps.models import torch_runner
from pipeline_steps.models.runner import runner
from pipeline_steps.models.teacher import load_teacher
from tests.data.teachers import write_teacher

ROOT = Path(__file__).resolve().parents[2]
BACKENDS = ["torch", "openvino"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_teacher(tmp_path_factory.mktemp("teacher"))


def pixels(count=2, height=48, width=48):
    return np.random.default_rng(0).random((count, 3, height, width), np.float32)


def running(
    folder, backend="torch", precision="fp32", resample=1.0, batch=4, compiled=False, turns=False
):
    return runner(folder, None, resample, precision, backend, batch, compiled, turns)


def expected(folder, images, resample=1.0):
    with torch.inference_mode():
        return load_teacher(folder, resample).eval()(torch.from_numpy(images))[:, 0].numpy()


def error(found, truth):
    """Return the largest and the mean difference, in shares of an image's range."""
    span = np.ptp(truth, axis=(1, 2), keepdims=True)
    assert (span > 0.1).all()
    share = np.abs(found - truth) / span
    return share.max(), share.mean()


# What comes out


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size, resample", [((48, 48), 1.0), ((50, 70), 1.0), ((50, 50), 1.7)])
def test_in_fp32_every_backend_says_what_the_teacher_says(folder, backend, size, resample):
    images = pixels(2, *size)

    found = running(folder, backend, resample=resample)(images)()

    assert found.shape == (2, *size) and found.dtype == np.float32
    assert error(found, expected(folder, images, resample))[0] < 1e-3


@pytest.mark.parametrize("backend", BACKENDS)
def test_bf16_stays_within_what_is_stated(folder, backend):
    images = pixels()

    largest, mean = error(running(folder, backend, "bf16")(images)(), expected(folder, images))

    assert largest < 0.1 and mean < 0.01


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [48, 50])
def test_slopes_do_not_become_stairs_in_bf16(folder, backend, size):
    height = running(folder, backend, "bf16")(pixels(1, size, size))()

    assert len(np.unique(height)) > 0.9 * height.size


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_folder_gives_may_be_stated(folder, backend):
    images = pixels(1)
    known, stated = (
        runner(folder, gives, 1.0, "fp32", backend, 4, False, False)(images)()
        for gives in (None, "depth")
    )

    np.testing.assert_allclose(stated, -known, rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_batches_may_have_any_length_and_be_waited_for_in_any_order(folder, backend):
    images = pixels(5)
    run = running(folder, backend)

    first, second, third = run(images[:3]), run(images[3:]), run(images[1:2])

    truth = expected(folder, images)
    for wait, part in ((third, truth[1:2]), (first, truth[:3]), (second, truth[3:])):
        found = wait()
        assert found.shape == part.shape
        assert error(found, part)[0] < 1e-3


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_was_handed_over_may_be_overwritten_at_once(folder, backend):
    images = pixels()
    truth = expected(folder, images)

    wait = running(folder, backend)(images)
    images[:] = 0

    assert error(wait(), truth)[0] < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_memory_does_not_grow_with_the_number_of_calls(folder, backend):
    run, images = running(folder, backend), pixels()

    def resident():
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20

    for _ in range(20):
        run(images)()
    before = resident()
    for _ in range(100):
        run(images)()

    assert resident() - before < 5


# torch


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_attention_by_head_is_attention(kind):
    shape = (2, 3, 7, 8)
    query, key, value = torch.randn((3, *shape), generator=torch.Generator().manual_seed(0))
    truth = torch.nn.functional.scaled_dot_product_attention(query, key, value, scale=0.3)

    # some networks turn query and key, which leaves them in float32
    found, _ = torch_runner._attention_by_head(None, query, key, value.to(kind), None, 0.3)

    assert found.shape == (2, 7, 3, 8) and found.dtype == kind
    torch.testing.assert_close(found.float(), truth.transpose(1, 2), rtol=0.02, atol=0.02)


def test_attention_by_head_heeds_a_mask(tmp_path):
    """ZoeDepth's backbone tells by one where patches lie to each other."""
    folder, images = write_teacher(tmp_path, "zoedepth", 0.1), pixels(1)

    by_head = load_teacher(folder, 1.0, attention=torch_runner.BY_HEAD).eval()

    with torch.inference_mode():
        found = by_head(torch.from_numpy(images))[:, 0].numpy()
    np.testing.assert_allclose(found, expected(folder, images), rtol=1e-5)


@pytest.mark.slow
def test_a_compiled_network_says_the_same_and_is_compiled_once(folder):
    run, images = running(folder, compiled=True), pixels(3)
    torch._dynamo.reset()

    found = [run(images[:1])(), run(images)()]

    truth = expected(folder, images)
    assert found[0].shape == (1, 48, 48) and error(found[0], truth[:1])[0] < 1e-3
    assert error(found[1], truth)[0] < 1e-3
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1


@pytest.mark.slow
def test_to_compile_without_a_compiler_is_an_error(folder, tmp_path, monkeypatch):
    # what earlier runs compiled would be taken from the cache
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(inductor.cpp, "cxx", (None, "/bin/false"))
    torch._dynamo.reset()
    run = running(folder, compiled=True)

    with pytest.raises(
        ValueError, match=r"^depth.compile is true, but torch.compile fails"
    ) as said:
        run(pixels(1))
    assert "\n" not in str(said.value) and "expected a C compiler" in str(said.value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_number_of_threads_is_part_of_a_cpu_s_arithmetic(monkeypatch, backend):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    before, found = torch.get_num_threads(), []

    try:
        for threads in ("1", "2", "2"):
            monkeypatch.setenv("OMP_NUM_THREADS", threads)
            found.append(runners.arithmetic("fp32", backend))
    finally:
        torch.set_num_threads(before)

    assert found[0].startswith("cpu of 1 thread, fp32")
    assert found[1].startswith("cpu of 2 threads, fp32") and found[1] == found[2]


# OpenVINO


def test_without_openvino_one_is_told_how_to_install_it(folder, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ValueError, match=r"backend is openvino, which is not installed: pip"):
        running(folder, "openvino")


def test_what_openvino_cannot_run_is_an_error_of_one_line(tmp_path):
    run = running(write_teacher(tmp_path, "chmv2"), "openvino")

    with pytest.raises(ValueError, match=r"openvino, which cannot run a chmv2 \(.+nan_to_num") as e:
        run(pixels(1))
    assert "\n" not in str(e.value)


@pytest.mark.slow
def test_openvino_tells_nobody_of_its_use(folder, tmp_path):
    code = (
        "import sys, numpy as np; from pathlib import Path;"
        "from pipeline_steps.models.runner import runner;"
        f"run = runner(Path({str(folder)!r}), None, 1.0, 'fp32', 'openvino', 4, False, False);"
        "run(np.zeros((1, 3, 48, 48), np.float32))();"
        "assert 'openvino' in sys.modules and not sys.modules['openvino_telemetry']"
    )
    home = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}

    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=home, check=True)

    assert not (tmp_path / "intel").exists()


def test_another_backend_is_an_error(folder):
    with pytest.raises(ValueError, match=r"depth.backend is 'jax', expected torch or openvino"):
        running(folder, "jax")


# Eight ways


def turned_by(monkeypatch, network):
    """Return a runner in eight ways of a function from images to heights."""
    fake = lambda *settings: lambda images: lambda: network(images)  # noqa: E731
    monkeypatch.setattr(runners, "Torch", fake)
    return running(Path(), turns=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_turning_the_image_turns_the_height(folder, backend):
    images = pixels()

    def unlike(run):
        turned = np.ascontiguousarray(np.rot90(images, 1, (-2, -1))[..., ::-1])
        back = np.rot90(run(turned)()[..., ::-1], -1, (-2, -1))
        return error(back, run(images)())[0]

    assert unlike(running(folder, backend)) > 0.1
    assert unlike(running(folder, backend, turns=True)) < 1e-3


def test_a_network_that_treats_all_ways_alike_is_not_changed(monkeypatch):
    images = pixels()

    found = turned_by(monkeypatch, lambda images: images.mean(1))(images)()

    np.testing.assert_allclose(found, images.mean(1), rtol=1e-5)


def test_every_way_has_a_scale_and_a_shift_of_its_own(monkeypatch):
    scales = iter(range(1, 9))

    def network(images):
        scale = next(scales)
        return scale * images.mean(1) + 100 * scale

    images = pixels()
    found = turned_by(monkeypatch, network)(images)()

    np.testing.assert_allclose(found, 4.5 * images.mean(1) + 450, rtol=1e-5)


def test_what_a_network_holds_of_up_and_down_is_taken_out(monkeypatch):
    images = pixels()
    slope = np.linspace(0, 5, 48, dtype=np.float32)[:, None]

    def network(images):
        return images.mean(1) + slope

    found = turned_by(monkeypatch, network)(images)()

    def lean(height):
        return np.polyfit(np.arange(48), (height - images.mean(1)).mean((0, 2)), 1)[0]

    assert lean(network(images)) == pytest.approx(5 / 47)
    assert abs(lean(found)) < 0.01 * lean(network(images))


def test_a_flat_answer_counts_as_it_is(monkeypatch):
    answers = iter(range(8))
    images = pixels(1)

    def network(images):
        return np.full((1, 48, 48), 8.1, np.float32) if next(answers) else images.mean(1)

    found = turned_by(monkeypatch, network)(images)()

    np.testing.assert_allclose(found, (images.mean(1) + 7 * 8.1) / 8, rtol=1e-5)


def test_nothing_but_flat_answers_are_flat(monkeypatch):
    run = turned_by(monkeypatch, lambda images: np.full((2, 48, 48), 0.3, np.float32))

    np.testing.assert_allclose(run(pixels())(), 0.3, rtol=1e-6)
