"""What cannot be imported is reported at once, by key, shape, and the nearest supported thing."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch
from foreign_vit import EdgeMoe, Vit
from torch import Tensor, nn

from hwmoe.errors import HwmoeError
from hwmoe.model.loaders.convert import convert
from hwmoe.model.loaders.imported import ImportFailed, ImportProblem
from hwmoe.model.loaders.load import import_file
from hwmoe.model.loaders.module import import_module
from hwmoe.model.loaders.options import ImportOptions
from hwmoe.model.loaders.source import tensors_source
from hwmoe.model.zoo import load_model

HEADS = ImportOptions(heads=3)


def problems(state: dict[str, Tensor], options: ImportOptions = HEADS) -> dict[str, ImportProblem]:
    with pytest.raises(ImportFailed) as caught:
        convert(tensors_source("test", state), options)
    return {problem.name: problem for problem in caught.value.problems}


def test_everything_at_once() -> None:
    state = Vit(depth=3).state_dict()
    state["dist_token"] = torch.zeros(1, 1, 24)
    state["reg_token"] = torch.zeros(1, 4, 24)
    for layer in range(3):
        state[f"blocks.{layer}.attn.q_norm.weight"] = torch.ones(8)
        del state[f"blocks.{layer}.norm2.bias"]
    del state["blocks.1.mlp.fc1.bias"]  # others have it: lost, not left out
    state["blocks.2.attn.proj.weight"] = torch.zeros(24, 23)
    state["pos_embed"] = torch.zeros(1, 17, 24, 1)
    state["head.weight"][3, 5] = torch.nan
    state["extra.thing"] = torch.zeros(2, 3)
    state["blocks.0.gamma_1"] = torch.ones(24)
    state["blocks.0.ls1.gamma"] = torch.ones(24)
    found = problems(state, ImportOptions())
    expected = {
        "dist_token": ("unsupported", (1, 1, 24), "use the DeiT that is not distilled"),
        "reg_token": ("unsupported", (1, 4, 24), "no registers"),
        "blocks.{0,1,2}.attn.q_norm.weight": ("unsupported", (8,), "without qk_norm"),
        "blocks.{l}.norm2.bias": ("missing", (), "an RMSNorm has none"),
        "blocks.{l}.mlp.fc1.bias": ("missing", (), ""),
        "blocks.2.attn.proj.weight": ("weight", (24, 23), ""),
        "pos_embed": ("weight", (1, 17, 24, 1), ""),
        "head.weight": ("weight", (7, 24), ""),
        "extra.thing": ("unexpected", (2, 3), "--ignore 'extra.thing'"),
        "blocks.0.ls1.gamma": ("unexpected", (), "--ignore one of them"),
        "heads": ("option", (), "give --heads"),
    }
    assert set(found) == set(expected)
    for name, (kind, shape, nearest) in expected.items():
        assert (found[name].kind, found[name].shape) == (kind, shape), name
        assert nearest in found[name].nearest, name
    assert "must be [D, D] with D = 24" in found["blocks.2.attn.proj.weight"].text
    assert "blocks.{0,1,2}.norm2.bias is made of it" in found["blocks.{l}.norm2.bias"].text
    assert "1 of 168 values are NaN" in found["head.weight"].text


@pytest.mark.parametrize(
    ("key", "shape", "says"),
    [
        ("norm_pre.weight", (24,), "global_pool='token'"),
        ("fc_norm.weight", (24,), "global_pool='token'"),
        ("head_dist.weight", (7, 24), "not distilled"),
        ("attn_pool.q.weight", (24, 24), "one linear classifier"),
        ("blocks.0.mlp.w12.weight", (96, 24), "fc1, GELU, fc2"),
        ("blocks.1.attn.rel_pos.relative_position_bias_table", (9, 3), "learned position table"),
        ("blocks.0.mlp.norm.weight", (96,), "before attention"),
        ("patch_embed.backbone.conv.weight", (8, 3, 3, 3), "patch_embed.proj alone"),
    ],
)
def test_what_timm_may_have_and_we_do_not(key: str, shape: tuple[int, ...], says: str) -> None:
    found = problems(Vit().state_dict() | {key: torch.ones(shape)})
    assert [problem.kind for problem in found.values()] == ["unsupported"]
    assert says in next(iter(found.values())).nearest


def test_the_limits_of_our_model_are_named() -> None:
    found = problems(Vit().state_dict(), ImportOptions(heads=5))
    assert "heads=5 does not divide dim=24" in found["configuration"].text
    found = problems(Vit().state_dict(), ImportOptions(heads=3, image=(16, 20)))
    assert "17 rows, but 16x20 in patches of 4x4 is 20" in found["image"].text
    found = problems(Vit(image=(8, 16)).state_dict())
    assert "give --image, as in 128x256" in found["image"].nearest
    found = problems(Vit().state_dict(), ImportOptions(heads=3, classes=(8,)))
    assert "with {0: 7} classes" in found["classes"].text
    found = problems(Vit().state_dict(), ImportOptions(heads=3, tasks=("a", "b")))
    assert "2 names for 1 tasks" in found["tasks"].text


def test_several_models_in_one_file() -> None:
    both = {f"{who}.{k}": v for who in ("ema", "student") for k, v in Vit().state_dict().items()}
    assert "'ema.' (timm ViT/DeiT), 'student.'" in problems(both)["prefix"].text
    options = ImportOptions(heads=3, prefix="ema.", ignore=("student.*",))
    found = convert(tensors_source("test", both), options)
    assert found.sources["norm.bias"] == "ema.norm.bias"


def test_a_mixed_layer_and_a_gate_said_twice() -> None:
    files = dict(EdgeMoe().files)
    files["l1_fc1_bias"] = torch.zeros(20)
    options = ImportOptions(heads=2, patch=(4, 4), image=(8, 16), top_k=2)
    assert "both a dense feed-forward block and experts" in problems(files, options)["layer 1"].text


def test_a_long_report_stays_short() -> None:
    """Thousands of foreign keys, numbered or not; all are in `problems`."""
    extra = {f"more.{i}.x": torch.ones(1) for i in range(5000)}
    extra |= {"".join(chr(97 + int(d)) for d in str(i)): torch.ones(1) for i in range(5000)}
    with pytest.raises(ImportFailed) as caught:
        convert(tensors_source("test", Vit().state_dict() | extra), HEADS)
    assert len(caught.value.problems) == 5001
    assert "more.{0,1,...,4999}.x (unexpected [1])" in str(caught.value)
    assert "and 4,941 more" in str(caught.value)
    assert len(str(caught.value)) < 10_000


def test_no_model_at_all(tmp_path: Path) -> None:
    found = problems({"conv1.weight": torch.ones(1)})
    assert "no model is recognized by its keys: conv1.weight" in found["keys"].text
    assert "timm ViT/DeiT: patch_embed.proj.weight" in found["keys"].nearest
    (tmp_path / "model.h5").write_bytes(b"x")
    with pytest.raises(HwmoeError, match=r"must be \.safetensors"):
        import_file(tmp_path / "model.h5")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(HwmoeError, match="holds a list, not a state dict"):
        import_file(tmp_path / "list.pt")
    torch.save(Vit(), tmp_path / "module.pt")
    with pytest.raises(HwmoeError, match=r"foreign_vit\.Attention.* which is code and is not run"):
        import_file(tmp_path / "module.pt")
    with zipfile.ZipFile(tmp_path / "script.pt", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("script/constants.pkl", b"")  # as torch.jit.save has it
    with pytest.raises(HwmoeError, match="is a TorchScript program"):
        import_file(tmp_path / "script.pt")


def test_an_entry_is_chosen(tmp_path: Path) -> None:
    first, second = Vit().state_dict(), {k: v + 1 for k, v in Vit().state_dict().items()}
    torch.save({"model": first, "model_ema": second}, tmp_path / "both.pt")
    found = import_file(tmp_path / "both.pt", HEADS)
    assert torch.equal(found.state["norm.bias"], first["norm.bias"])
    assert "not read: model_ema" in found.notes[0].text
    found = import_file(tmp_path / "both.pt", ImportOptions(heads=3, entry="model_ema"))
    assert torch.equal(found.state["norm.bias"], second["norm.bias"])
    with pytest.raises(HwmoeError, match="no entry 'ema' with weights"):
        import_file(tmp_path / "both.pt", ImportOptions(heads=3, entry="ema"))


def test_a_module_says_what_a_file_does_not() -> None:
    module = Vit(image=(8, 16), eps=1e-5, layer_scale=True)
    for block in module.blocks:
        block.attn.scale *= 1.5
    found = import_module(module)
    assert (found.config.heads, found.config.image) == (3, (8, 16))
    assert found.config.norm_eps == 1e-5
    assert "same logits as ours" in found.notes[-1].text
    ours = load_model("digits")
    assert import_module(ours).config == ours.config


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"act": lambda: nn.GELU("tanh")}, "GELU approximated by tanh"),
        ({"act": nn.ReLU}, "another activation"),
        ({"post_norm": True}, "post-norm blocks"),
    ],
)
def test_a_module_that_computes_something_else(changes: dict[str, object], says: str) -> None:
    """Post-norm has the same keys: only comparing the logits finds it."""
    with pytest.raises(ImportFailed) as caught:
        import_module(Vit(**changes))
    assert says in str(caught.value)
