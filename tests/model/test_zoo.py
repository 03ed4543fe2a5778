"""The zoo: geometries, seeded weights, the shipped checkpoint and the errors of `load_model`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest
import torch

from hwmoe.errors import HwmoeError
from hwmoe.model.config import ModelConfig
from hwmoe.model.data import digits_images, synthetic_images
from hwmoe.model.vit import MoEViT
from hwmoe.model.zoo import GEOMETRIES, ZOO, load_model, read_geometry, seeded_model, zoo_config
from hwmoe.quant.ternary import fake_ternary

torch.set_num_threads(1)

SMALL = """
name = "mine"
image = [8, 16]
patch = [4, 4]
channels = 3
dim = 16
heads = 2
depth = 2
dense_hidden = 32
moe_layers = [1]
experts = 4
top_k = 2
expert_hidden = 8
tasks = [{ name = "a", classes = 5 }]
"""


def parameters(config: ModelConfig) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in MoEViT(config).parameters())


@pytest.mark.parametrize(
    ("name", "macs", "count"),
    [
        ("m3vit-tiny", 782_727_168, 17_994_872),
        ("m3vit-small", 2_935_025_664, 71_379_128),
        ("deit-tiny", 1_253_683_200, 5_717_416),  # timm: 5,717,416 parameters
        ("deit-small", 4_598_882_304, 22_050_664),  # timm: 22,050,664 parameters
    ],
)
def test_geometries(name: str, macs: int, count: int) -> None:
    config = zoo_config(name)
    assert config.name == name
    assert config.macs == macs
    assert parameters(config) == count


def test_m3vit_shape() -> None:
    config = zoo_config("m3vit-tiny")
    assert config.tokens == 129
    assert config.gate_scores == "all"
    assert config.moe_layers == (1, 3, 5, 7, 9, 11)
    assert [(t.name, t.classes) for t in config.tasks] == [("segmentation", 40), ("depth", 16)]


def test_shipped_digits_checkpoint() -> None:
    shipped = files("hwmoe.model") / "weights" / "digits.safetensors"
    with shipped.open("rb") as file:
        assert len(file.read()) < 1_000_000
    model = load_model("digits")
    assert zoo_config("digits") == model.config
    example = Path(__file__).parents[2] / "examples" / "digits" / "digits.toml"
    assert read_geometry(example)[0] == model.config
    images = digits_images()
    assert images.labels is not None
    test = torch.from_numpy(images.test)
    for task, info in enumerate(model.config.tasks):
        target = torch.from_numpy(images.labels[info.name])
        accuracy = {}
        for name, transform in (("float", None), ("ternary", fake_ternary)):
            model.expert_transform = transform
            trace: dict[str, torch.Tensor] = {}
            with torch.no_grad():
                right = model(test, task, trace).argmax(-1) == target
            accuracy[name] = right.double().mean().item()
        assert accuracy["float"] >= 0.97
        assert accuracy["ternary"] >= accuracy["float"] - 0.01
        for layer in model.config.moe_layers:
            load = torch.bincount(trace[f"blocks.{layer}.moe.topk"].flatten(), minlength=8)
            assert load.min() > 0, f"{info.name}: a dead expert in layer {layer}"


def test_seeded_weights_depend_on_the_seed_alone(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SMALL)
    config, seed = read_geometry(path)
    assert seed == 0
    first, other = load_model(str(path)), seeded_model(config, 4)
    torch.rand(3)  # the global generator plays no part
    path.write_text("seed = 4\n" + SMALL)
    for name, value in load_model(str(path)).state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
        assert not torch.equal(value, first.state_dict()[name])
        assert torch.isfinite(value).all()
        assert value.std() > 0


def test_seeded_routing_is_spread() -> None:
    model = load_model("m3vit-tiny")
    images = torch.from_numpy(synthetic_images(model.config, 2, 0))
    for task in range(2):
        trace: dict[str, torch.Tensor] = {}
        with torch.no_grad():
            logits = model(images, task, trace)
        assert torch.isfinite(logits).all()
        for layer in model.config.moe_layers:
            load = torch.bincount(trace[f"blocks.{layer}.moe.topk"].flatten(), minlength=16)
            assert (load > 0).sum() >= 14
            assert load.max() < load.sum() / 3


def test_unknown_names() -> None:
    with pytest.raises(HwmoeError, match="Did you mean 'm3vit-tiny'") as caught:
        load_model("m3vit_tiny")
    assert all(name in str(caught.value) for name in ZOO)
    with pytest.raises(HwmoeError, match="unknown model 'zzz'") as caught:
        load_model("zzz")
    assert "Did you mean" not in str(caught.value)
    with pytest.raises(HwmoeError, match="unknown model 'vgg'"):
        zoo_config("vgg")
    assert set(GEOMETRIES) < set(ZOO)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for name in ("none.toml", "none.safetensors", "x" * 5000 + ".toml"):
        with pytest.raises(HwmoeError, match=f"{name} does not exist"):
            load_model(str(tmp_path / name))
    (tmp_path / "d.toml").mkdir()
    for name in ("d.toml", "."):
        with pytest.raises(HwmoeError, match="is a folder"):
            load_model(str(tmp_path / name))


def test_a_torch_file_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"w": torch.zeros(3)}, path)
    with pytest.raises(HwmoeError, match="pickled PyTorch file"):
        load_model(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = 'x'\nimage = [8,,8]\n", "not valid TOML: .*line 2"),
        ("seed = -1\n" + SMALL, "seed: -1 must be an integer"),
        ("seed = true\n" + SMALL, "seed: True must be an integer"),
        ("extra = 1\n" + SMALL, "extra: "),
        (SMALL.replace("heads = 2", "heads = 3"), "heads=3 does not divide dim=16"),
        ("", "name: "),
    ],
)
def test_wrong_descriptions(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(HwmoeError, match=message) as caught:
        load_model(str(path))
    assert "mine.toml" in str(caught.value)


def test_all_problems_of_a_description_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = SMALL.replace("dim = 16", 'dim = "wide"').replace("depth = 2", "depth = 0")
    path.write_text("seed = 'a'\n" + text)
    with pytest.raises(HwmoeError) as caught:
        load_model(str(path))
    assert [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]] == [
        "dim",
        "depth",
        "seed",
    ]


def test_a_description_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"name = '\xff'")
    with pytest.raises(HwmoeError, match="not UTF-8 text"):
        load_model(str(path))
