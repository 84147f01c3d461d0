"""Weights of the original code, against that code's structure written down a second time.

Depth Anything is a head on a DINOv2 whose blocks `get_intermediate_layers` taps: V1 the last four,
V2 evenly spread ones. Tensors are random, so that a wrong block, order or name shows.
"""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from pipeline_steps.fetch import run
from pipeline_steps.models.convert import convert
from pipeline_steps.models.encoder import Encoder
from pipeline_steps.models.teacher import load_teacher
from pipeline_steps.study.manifest import digest_of
from pipeline_steps.study.params.fetch import Model
from tests.steps.conftest import model_files


def unit(width):
    block = nn.Module()
    block.conv1 = nn.Conv2d(width, width, 3, padding=1)
    block.conv2 = nn.Conv2d(width, width, 3, padding=1)
    return block


def refine(block, x):
    return block.conv2(block.conv1(x.relu()).relu()) + x


class Original(nn.Module):
    """Depth Anything as its authors' code has it, with their names of tensors."""

    def __init__(self, vit, taps, widths, features):
        super().__init__()
        self.vit, self.taps = vit, taps
        self.mask_token = nn.Parameter(torch.zeros(1, vit.embed_dim))
        head = self.depth_head = nn.Module()
        head.projects = nn.ModuleList(nn.Conv2d(vit.embed_dim, w, 1) for w in widths)
        head.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(widths[0], widths[0], 4, 4),
                nn.ConvTranspose2d(widths[1], widths[1], 2, 2),
                nn.Identity(),
                nn.Conv2d(widths[3], widths[3], 3, 2, 1),
            ]
        )
        scratch = head.scratch = nn.Module()
        for i, width in enumerate(widths, 1):
            setattr(scratch, f"layer{i}_rn", nn.Conv2d(width, features, 3, padding=1, bias=False))
            fusion = nn.Module()
            fusion.out_conv = nn.Conv2d(features, features, 1)
            fusion.resConfUnit1, fusion.resConfUnit2 = unit(features), unit(features)
            setattr(scratch, f"refinenet{i}", fusion)
        scratch.output_conv1 = nn.Conv2d(features, features // 2, 3, padding=1)
        scratch.output_conv2 = nn.Sequential(
            nn.Conv2d(features // 2, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 1, 1), nn.ReLU()
        )
        self.requires_grad_(False).eval()

    def forward(self, x):
        patch = self.vit.patch_embed.patch_size[0]
        rows, columns = x.shape[2] // patch, x.shape[3] // patch
        tapped = self.vit.get_intermediate_layers(x, n=self.taps, norm=True)
        head, scratch, levels = self.depth_head, self.depth_head.scratch, []
        for i, tokens in enumerate(tapped):
            level = tokens.permute(0, 2, 1).reshape(len(x), -1, rows, columns)
            level = head.resize_layers[i](head.projects[i](level))
            levels.append(getattr(scratch, f"layer{i + 1}_rn")(level))
        path = None
        for i in (3, 2, 1, 0):
            fusion = getattr(scratch, f"refinenet{i + 1}")
            path = levels[i] if path is None else path + refine(fusion.resConfUnit1, levels[i])
            path = refine(fusion.resConfUnit2, path)
            size = levels[i - 1].shape[2:] if i else [2 * n for n in path.shape[2:]]
            path = F.interpolate(path, size, mode="bilinear", align_corners=True)
            path = fusion.out_conv(path)
        out, full = scratch.output_conv1(path), (rows * patch, columns * patch)
        out = F.interpolate(out, full, mode="bilinear", align_corners=True)
        return scratch.output_conv2(out).relu()[:, 0]

    def checkpoint(self):
        """The tensors by their published names."""
        state = {f"pretrained.{key}": value for key, value in self.vit.state_dict().items()}
        state["pretrained.mask_token"] = self.mask_token
        head = self.depth_head.state_dict()
        return state | {f"depth_head.{key}": value for key, value in head.items()}


def shaken(network, seed=0):
    """Random weights, of which every one matters to what comes out."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in network.named_parameters():
        noise = torch.randn(value.shape, generator=generator)
        is_scale = name.endswith(("gamma", "norm.weight", "norm1.weight", "norm2.weight"))
        scale = 0.3 if value.ndim < 2 else 1.4 / value[0].numel() ** 0.5
        value.data = noise * scale + (1.0 if is_scale else 0.0)
    return network


def original(taps, blocks=8, seed=0, **arguments):
    small = {"embed_dim": 128, "num_heads": 2, "depth": blocks, "img_size": 56}
    vit = timm.create_model("vit_small_patch14_dinov2", num_classes=0, **(arguments or small))
    widths = (48, 96, 192, 384) if arguments else (8, 16, 24, 32)
    return shaken(Original(vit, taps, widths, 64 if arguments else 16), seed)


def fetch(folder, source, **params):
    run("net", *model_files(folder), Model(source=str(source), **params))
    return folder


def saved(folder, name, state):
    folder.mkdir(exist_ok=True)
    torch.save(state, folder / name)
    return folder / name


def assert_the_same(source, folder, size):
    """Compare on several images: a final ReLU that is dark everywhere would agree with anything."""
    teacher = load_teacher(folder, 1.0)
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        truth, found = source(x), teacher.network.eval()(x).predicted_depth
    assert truth.std() > 0.1 and (truth > 0).float().mean() > 0.1
    scale = truth.abs().max()
    torch.testing.assert_close(found / scale, truth / scale, rtol=0, atol=1e-4)


V1, V2 = [4, 5, 6, 7], [1, 3, 5, 7]


@pytest.mark.parametrize(
    ("taps", "name"), [(V1, "depth_anything_vits14.pth"), (V2, "depth_anything_v2_vits.pth")]
)
def test_a_converted_depth_anything_gives_what_the_original_gives(tmp_path, taps, name):
    source = original(taps)

    folder = fetch(tmp_path / "net", saved(tmp_path, name, source.checkpoint()))

    assert_the_same(source, folder, 56)
    config = json.loads((folder / "config.json").read_text())
    assert config["backbone_config"]["out_indices"] == [tap + 1 for tap in taps]
    stated = json.loads((folder / "preprocessor_config.json").read_text())
    assert stated["image_mean"] == [0.485, 0.456, 0.406]


def test_what_a_checkpoint_is_can_be_stated_where_its_name_does_not_tell(tmp_path):
    source = original(V1)
    file = saved(tmp_path, "best.pth", source.checkpoint())

    with pytest.raises(
        ValueError, match=r"best\.pth: its name does not tell Depth Anything V1 fro"
    ):
        fetch(tmp_path / "net", file)

    assert_the_same(source, fetch(tmp_path / "net", file, checkpoint="depth_anything_v1"), 56)


def test_metric_depth_is_not_taken_for_relative_depth(tmp_path):
    name = "depth_anything_v2_metric_hypersim_vits.pth"
    file = saved(tmp_path, name, original(V2).checkpoint())

    with pytest.raises(ValueError, match=f"{name}: gives metric depth"):
        fetch(tmp_path / "net", file)


def test_metric_depth_is_refused_though_it_is_said_to_be_a_checkpoint_of_relative_depth(tmp_path):
    name = "depth_anything_v2_metric_hypersim_vits.pth"
    file = saved(tmp_path, name, original(V2).checkpoint())

    with pytest.raises(ValueError, match=f"{name}: gives metric depth"):
        fetch(tmp_path / "net", file, checkpoint="depth_anything_v2")


@pytest.mark.parametrize("folder", ["geometric", "metric"])
def test_where_a_file_lies_does_not_make_its_depth_metric(tmp_path, folder):
    source = original(V2)
    file = saved(tmp_path / folder, "depth_anything_v2_vits.pth", source.checkpoint())

    assert_the_same(source, fetch(tmp_path / "one", file), 56)
    assert_the_same(source, fetch(tmp_path / "two", file.parent, file=file.name), 56)


def test_a_hub_id_tells_metric_depth(tmp_path):
    file = saved(tmp_path, "best.pth", original(V2).checkpoint())
    published = "someone/Depth-Anything-V2-Metric-Indoor/best.pth"

    with pytest.raises(ValueError, match="gives metric depth"):
        convert(file, published, published, "depth_anything_v2", None, tmp_path / "net")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("taps", "checkpoint"),
    [([8, 9, 10, 11], "depth_anything_v1"), ([2, 5, 8, 11], "depth_anything_v2")],
)
def test_the_published_small_shape_gives_what_the_original_gives(tmp_path, taps, checkpoint):
    source = original(taps, img_size=518)
    file = saved(tmp_path, "best.pth", source.checkpoint())

    folder = fetch(tmp_path / "net", file, checkpoint=checkpoint)

    assert sum(value.numel() for value in load_file(folder / "model.safetensors").values()) == (
        24_785_089
    )
    assert_the_same(source, folder, 518)


def test_original_weights_in_safetensors_are_converted_too(tmp_path):
    source = original(V2)
    tensors = {key: value.contiguous() for key, value in source.checkpoint().items()}
    save_file(tensors, tmp_path / "depth_anything_v2_vits.safetensors")

    folder = fetch(tmp_path / "net", tmp_path / "depth_anything_v2_vits.safetensors")

    assert_the_same(source, folder, 56)


def test_the_checksum_is_that_of_the_file_as_it_is_handed_out(tmp_path):
    file = saved(tmp_path, "depth_anything_v2_vits.pth", original(V2).checkpoint())

    folder = fetch(tmp_path / "net", file, sha256={file.name: digest_of(file)})

    facts = json.loads((folder / "manifest.json").read_text())
    assert facts["sha256"] == {file.name: digest_of(file)}
    with pytest.raises(ValueError, match=rf"^{file}: SHA-256 is \w+, expected 0+"):
        fetch(tmp_path / "net", file, sha256={file.name: "0" * 64})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda s: s.pop("depth_head.projects.2.bias"),
            r"misses neck\.reassemble_stage\.layers\.2",
        ),
        (lambda s: s.pop("pretrained.norm.weight"), r"misses backbone\.layernorm\.weight"),
        (lambda s: s.update(new=torch.zeros(2)), "has besides new; expected the tensors of depth_"),
        (
            lambda s: s.update({"depth_head.scratch.output_conv1.bias": torch.zeros(3)}),
            r"has in another shape head\.conv1\.bias",
        ),
        (lambda s: s.pop("pretrained.pos_embed"), r"'pretrained\.pos_embed' is missing"),
    ],
)
def test_tensors_that_do_not_fit_are_named(tmp_path, change, words):
    state = original(V2).checkpoint()
    change(state)
    file = saved(tmp_path, "depth_anything_v2_vits.pth", state)

    with pytest.raises(ValueError, match=f"{file}: .*{words}"):
        fetch(tmp_path / "net", file)

    assert not list((tmp_path / "net").iterdir())


# DINOv2


def dinov2(registers):
    name = f"vit_small_patch14{'_reg4' if registers else ''}_dinov2"
    return shaken(timm.create_model(name, num_classes=0, dynamic_img_size=True)).eval()


def published(vit):
    """A timm DINOv2's tensors under their original names: registers come behind the class token,
    which alone of the two has a position."""
    state = dict(vit.state_dict()) | {"mask_token": torch.rand(1, vit.embed_dim)}
    if "reg_token" in state:
        place = torch.rand(1, 1, vit.embed_dim)
        state["register_tokens"] = state.pop("reg_token")
        state["cls_token"] = state["cls_token"] - place
        state["pos_embed"] = torch.cat([place, state["pos_embed"]], 1)
    return state


@pytest.mark.parametrize("registers", [False, True])
def test_an_encoder_loads_a_converted_dinov2_and_sees_the_same(tmp_path, registers):
    vit = dinov2(registers)
    name = f"dinov2_vits14{'_reg4' if registers else ''}_pretrain.pth"

    folder = fetch(tmp_path / "net", saved(tmp_path, name, published(vit)))

    timms = f"vit_small_patch14{'_reg4' if registers else ''}_dinov2.lvd142m"
    encoder = Encoder(timms, token_stride=8, weights=folder)
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        seen = encoder.bands(image)
        seen = F.interpolate(seen, (112, 112), mode="bilinear", antialias=True)
        taps = vit.get_intermediate_layers(seen, n=[2, 5, 8, 11], norm=True, reshape=True)
        found = encoder(image)
    for one, other in zip(found, taps, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    config = json.loads((folder / "config.json").read_text())
    assert config["architecture"] == timms.partition(".")[0]


def test_a_dinov2_with_a_tensor_too_few_or_of_no_known_width_is_refused(tmp_path):
    state = published(dinov2(registers=False))
    del state["norm.bias"]
    with pytest.raises(
        ValueError, match=r"dino\.pth: misses norm\.bias; expected the tensors of d"
    ):
        fetch(tmp_path / "net", saved(tmp_path, "dino.pth", state))

    narrow = {"mask_token": torch.rand(1, 16), "blocks.0.attn.qkv.weight": torch.rand(48, 16)}
    with pytest.raises(ValueError, match="has width 16, expected one of DINOv2's: 384, 768, 1024"):
        fetch(tmp_path / "net", saved(tmp_path, "dino.pth", narrow))


# Other weights, and what is none


def test_a_checkpoint_that_is_stated_and_is_not_one_is_refused(tmp_path):
    file = saved(tmp_path, "best.pth", {"a": torch.zeros(2)})

    with pytest.raises(ValueError, match=r"best\.pth: holds a, expected those of dinov2"):
        fetch(tmp_path / "net", file, checkpoint="dinov2")


def test_tensors_of_an_unknown_network_need_its_config(tmp_path):
    file = saved(tmp_path, "best.pth", {"a": torch.zeros(2)})
    with pytest.raises(
        ValueError, match=r"best\.pth: holds a, expected those of Depth Anything or"
    ):
        fetch(tmp_path / "net", file)

    (tmp_path / "config.json").write_text("{}")
    fetched = load_file(fetch(tmp_path / "net", file) / "model.safetensors")
    assert torch.equal(fetched["a"], torch.zeros(2))


def test_tensors_that_share_memory_are_written_each(tmp_path):
    one = torch.arange(6.0)
    (tmp_path / "config.json").write_text("{}")
    state = {"one": one, "same": one, "turned": one.reshape(2, 3).T}

    folder = fetch(tmp_path / "net", saved(tmp_path, "pytorch_model.bin", state))

    fetched = load_file(folder / "model.safetensors")
    assert all(torch.equal(fetched[name], state[name]) for name in state)


class Harm:
    """A pickle that does something when it is loaded."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path):
    file = saved(tmp_path, "depth_anything_v2_vits.pth", {"a": Harm(tmp_path / "harmed")})

    with pytest.raises(ValueError, match=f"^{file}: holds more than tensors") as error:
        fetch(tmp_path / "net", file)

    assert "\n" not in str(error.value)
    assert not (tmp_path / "harmed").exists()
    torch.load(file, weights_only=False)
    assert (tmp_path / "harmed").exists()  # it would have been


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1, 2], "holds a list, expected tensors by name"),
        ({"model": {}, "epoch": 3}, "holds epoch, model, expected tensors by name"),
        ({}, "expected tensors by name"),
        (b"junk" * 99, "expected weights"),
        (b"", "expected weights"),
    ],
)
def test_what_holds_no_tensors_is_refused_in_one_line(tmp_path, content, words):
    if isinstance(content, bytes):
        (tmp_path / "best.pth").write_bytes(content)
    else:
        saved(tmp_path, "best.pth", content)

    with pytest.raises(ValueError, match=rf"best\.pth: .*{words}"):
        fetch(tmp_path / "net", tmp_path / "best.pth")


def test_a_file_that_was_cut_is_refused(tmp_path):
    file = saved(tmp_path, "best.pth", {"a": torch.zeros(3000)})
    file.write_bytes(file.read_bytes()[:5000])

    with pytest.raises(ValueError, match=r"best\.pth: .*expected weights"):
        fetch(tmp_path / "net", file)


def sharded(folder, *shards):
    """Write safetensors as transformers does from some size on."""
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    places = {}
    for number, tensors in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        save_file(tensors, folder / name)
        places |= dict.fromkeys(tensors, name)
    index = {"metadata": {"total_size": 8}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_shards_become_one_file(tmp_path):
    source = sharded(tmp_path / "source", {"a": torch.zeros(1)}, {"b": torch.ones(1)})

    folder = fetch(tmp_path / "net", source)

    assert load_file(folder / "model.safetensors") == {"a": torch.zeros(1), "b": torch.ones(1)}
    assert len(json.loads((folder / "manifest.json").read_text())["sha256"]) == 4


def test_a_shard_that_is_missing_is_an_error(tmp_path):
    source = sharded(tmp_path / "source", {"a": torch.zeros(1)}, {"b": torch.ones(1)})
    (source / "model-00002-of-00002.safetensors").unlink()

    with pytest.raises(ValueError, match=r"index\.json: cannot be read .*00002-of-00002"):
        fetch(tmp_path / "net", source)


@pytest.mark.parametrize("text", ["", "{cut", "[1, 2]", '{"weight_map": [3]}', "\xff"])
def test_an_index_that_is_none_is_an_error_in_one_line_with_its_name(tmp_path, text):
    source = sharded(tmp_path / "source", {"a": torch.zeros(1)})
    (source / "model.safetensors.index.json").write_bytes(text.encode("latin-1"))

    with pytest.raises(ValueError, match=rf"^{source}/model.*index\.json: cannot be read") as error:
        fetch(tmp_path / "net", source)

    assert "\n" not in str(error.value)
