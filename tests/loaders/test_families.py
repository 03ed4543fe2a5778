"""Models in other people's names compute the same here: forward, integers, HLS."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from foreign_vit import EdgeMoe, Vit, pixels
from safetensors.torch import save_file
from torch import Tensor, nn

from hwmoe.flow.hardware import convert as to_hardware
from hwmoe.model.checkpoint import load_checkpoint, save_checkpoint
from hwmoe.model.loaders.convert import convert
from hwmoe.model.loaders.families import families
from hwmoe.model.loaders.imported import Imported, ImportFailed
from hwmoe.model.loaders.load import import_file
from hwmoe.model.loaders.options import ImportOptions
from hwmoe.model.loaders.source import tensors_source
from hwmoe.model.vit import MoEViT
from hwmoe.model.zoo import load_model

HEADS = ImportOptions(heads=3)
EDGE = ImportOptions(heads=2, patch=(4, 4), image=(8, 16), top_k=2)
TOLERANCE = 1e-5


def imported(module: nn.Module, options: ImportOptions = HEADS) -> Imported:
    return convert(tensors_source("test", module.state_dict()), options)


def same(module: nn.Module, ours: MoEViT) -> None:
    images = torch.from_numpy(pixels(ours.config.image))
    with torch.no_grad():
        torch.testing.assert_close(ours(images), module(images), atol=TOLERANCE, rtol=0)


def notes(found: Imported) -> str:
    return "\n".join(f"{note.name}: {note.text}" for note in found.notes)


@pytest.mark.parametrize("kind", ["pth", "wrapped", "safetensors"])
def test_timm_from_a_file(kind: str, tmp_path: Path) -> None:
    module = Vit(dim=192, patch=8, depth=2, classes=10)  # DeiT-tiny's width
    path = tmp_path / "deit.safetensors"
    if kind == "safetensors":
        save_file(module.state_dict(), path)
    else:
        path = tmp_path / "deit.pth"
        parallel = {f"module.{name}": value for name, value in module.state_dict().items()}
        torch.save(module.state_dict() if kind == "pth" else {"model": parallel, "epoch": 3}, path)
    found = import_file(path, HEADS)
    same(module, found.model())
    assert found.family == "timm ViT/DeiT"
    assert found.config.name == "deit"
    assert found.config.dense_hidden == 768
    prefix = "module." if kind == "wrapped" else ""
    assert found.sources["blocks.1.qkv.weight"] == f"{prefix}blocks.1.attn.qkv.weight"
    if kind == "wrapped":
        assert "beside it, not read: epoch" in notes(found)
    save_checkpoint(tmp_path / "ours.safetensors", found.model())
    same(module, load_checkpoint(tmp_path / "ours.safetensors"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats(dtype: torch.dtype, tmp_path: Path) -> None:
    module = Vit().to(dtype)
    torch.save(module.state_dict(), tmp_path / "half.pt")
    same(module.float(), import_file(tmp_path / "half.pt", HEADS).model())


def test_views_are_read_as_what_they_show(tmp_path: Path) -> None:
    """A transposed tensor, a slice of a larger one, and one storage behind two keys."""
    module = Vit()
    state = module.state_dict()
    state["head.weight"] = state["head.weight"].t().contiguous().t()
    both = torch.cat([state["norm.weight"], state["norm.bias"]])
    state["norm.weight"], state["norm.bias"] = both[:24], both[24:]
    torch.save(state, tmp_path / "views.pt")
    same(module, import_file(tmp_path / "views.pt", HEADS).model())


def test_what_is_folded_is_exact_and_said() -> None:
    module = Vit(layer_scale=True, qkv_bias=False, embed_class=False)
    found = imported(module, ImportOptions(heads=3, image=(16, 16)))
    same(module, found.model())
    text = notes(found)
    assert "blocks.1.ls2.gamma: LayerScale folded into blocks.1.mlp.fc2" in text
    assert "blocks.{l}.attn.qkv.bias: absent (qkv_bias=False): zeros" in text
    assert "no row for the class token" in text


def test_torchvision_and_transformers_names() -> None:
    """The same weights under their names; q, k and v apart in one of them."""
    module = Vit()
    expected = imported(module).state
    for family, names in NAMES.items():
        renamed: dict[str, Tensor] = {}
        for name, value in module.state_dict().items():
            theirs = renaming(name, names)
            if "{qkv}" in theirs:
                words = "qkv" if "5" in family else ("query", "key", "value")
                for part, piece in zip(words, value.chunk(3), strict=True):
                    renamed[theirs.replace("{qkv}", part)] = piece
            else:
                renamed[theirs] = value
        found = convert(tensors_source("test", renamed), HEADS)
        assert found.family == f"{family} ViT"
        assert all(torch.equal(found.state[name], expected[name]) for name in expected)


def test_m3vit_names() -> None:
    """A MoE layer as M3ViT saves it, a gate a task, below a backbone's prefix."""
    edge = EdgeMoe()
    found = import_edge(edge)
    w, state = edge.files, {}
    for name, value in found.state.items():
        if name.startswith(("heads.", "blocks.1.moe")):
            continue
        theirs = name.replace("patch_embed", "patch_embed.proj").replace(".qkv", ".attn.qkv")
        theirs = theirs.replace("0.proj", "0.attn.proj").replace("1.proj", "1.attn.proj")
        state[f"backbone.{theirs}"] = value
    state["backbone.patch_embed.proj.weight"] = w["patch_embed_weight"]
    state["backbone.cls_token"] = state["backbone.cls_token"].reshape(1, 1, -1)
    state["backbone.pos_embed"] = state["backbone.pos_embed"][None]
    for kind in ("htoh4", "h4toh"):
        for what in ("weight", "bias"):
            state[f"backbone.blocks.1.mlp.experts.{kind}.{what}"] = w[f"l1_{kind}_{what}"]
    for task in (0, 1):
        gate = w[f"l1_w_gate_T_task{task}"].t()
        state[f"backbone.blocks.1.mlp.gate.{task}.w_gate"] = gate
    state["decoders.depth.weight"] = torch.zeros(3, 3)
    options = ImportOptions(heads=2, image=(8, 16), top_k=2, classes=(5, 3), ignore=("decoders.*",))
    m3vit = convert(tensors_source("test", state), options)
    assert m3vit.family == "M3ViT"
    assert m3vit.config.moe_layers == (1,)
    assert m3vit.config.gate_scores == "all"
    for name, value in found.state.items():
        if not name.startswith("heads."):
            assert torch.equal(m3vit.state[name], value), name
    assert "UNTRAINED classifier of 5 classes" in notes(m3vit)
    # Its other gate takes the softmax over the chosen, and has weights for its noise.
    state["backbone.blocks.1.mlp.gate.0.w_noise"] = torch.zeros(16, 4)
    noisy = convert(tensors_source("test", state), options)
    assert noisy.config.gate_scores == "topk"
    assert "w_noise: the noise of NoisyGate" in notes(noisy)


def import_edge(edge: EdgeMoe) -> Imported:
    source = tensors_source("test", edge.files)
    return convert(source, EDGE)


def test_edge_moe_folder(tmp_path: Path) -> None:
    edge = EdgeMoe()
    found = import_file(edge.write(tmp_path / "weights"), EDGE)
    config = found.config
    assert (config.dim, config.experts, config.expert_hidden, config.dense_hidden) == (
        16,
        4,
        12,
        20,
    )
    assert [task.classes for task in config.tasks] == [5, 3]
    images = torch.from_numpy(pixels(edge.image))
    for task in (0, 1):
        with torch.no_grad():
            ours = found.model()(images, task)
        torch.testing.assert_close(ours, edge.forward(images, task), atol=TOLERANCE, rtol=0)
        # Scores that add up to 1 are another function.
        assert (ours - edge.forward(images, task, renormalize=True)).abs().max() > 1e-3
    assert "gate-scores: a softmax over all experts" in notes(found)
    other = import_file(tmp_path / "weights", replace(EDGE, gate_scores="topk"))
    assert "as you say; Edge-MoE itself: a softmax over all" in notes(other)
    with torch.no_grad():
        expected = edge.forward(images, 0, renormalize=True)
        torch.testing.assert_close(other.model()(images, 0), expected, atol=TOLERANCE, rtol=0)


def test_edge_moe_asks_what_no_file_says(tmp_path: Path) -> None:
    """All questions at once; the folder as released has no final norm and no classifiers."""
    edge = EdgeMoe()
    edge.files = {k: v for k, v in edge.files.items() if not k.startswith(("norm_", "head_"))}
    folder = edge.write(tmp_path / "weights")
    with pytest.raises(ImportFailed) as caught:
        import_file(folder)
    names = {problem.name for problem in caught.value.problems}
    assert names == {"patch", "image", "heads", "top-k", "classes"}
    options = ImportOptions(2 * "x", 2, (8, 16), (4, 4), 2, classes=(5, 3))
    text = notes(import_file(folder, options))
    assert "no final LayerNorm" in text
    assert "UNTRAINED classifier of 3 classes" in text


@pytest.mark.parametrize("kind", ["timm", "edge"])
def test_imported_models_run_bit_exact_in_hls(kind: str, tmp_path: Path) -> None:
    module, edge = Vit(depth=1), EdgeMoe()
    if kind == "timm":
        torch.save(module.state_dict(), tmp_path / "vit.pt")
        found = import_file(tmp_path / "vit.pt", HEADS)
    else:
        found = import_file(edge.write(tmp_path / "weights"), EDGE)
    images = pixels(found.config.image, 6)
    hardware = to_hardware(found.model(), images, board="ultra96v2")
    hardware.write(tmp_path / "project")
    run = hardware.check_hls(images)
    assert run.divergence is None
    evaluation = hardware.compare(found.model(), images)[0]
    assert evaluation.accuracy.agreement >= 0.5


def test_our_names_are_all_parameters() -> None:
    """The table of our own names, which tells what is missing, is the model's state dict."""
    ours = next(family for family in families() if family.name == "hwmoe")
    model = load_model("digits")  # dense, MoE and shared experts, two tasks
    for name in model.state_dict():
        found = [entry for entry in ours.entries if entry.match(name) is not None]
        assert len(found) == 1, name
        assert found[0].to == found[0].pattern
    config = model.config
    options = ImportOptions(
        name="digits",
        heads=config.heads,
        patch=config.patch,
        top_k=config.top_k,
        tasks=("digit", "parity"),
        pixel_mean=config.pixel_mean,
        pixel_std=config.pixel_std,
    )
    found_model = convert(tensors_source("test", model.state_dict()), options)
    assert found_model.config == config


TORCHVISION = {
    "patch_embed.proj": "conv_proj",
    "cls_token": "class_token",
    "pos_embed": "encoder.pos_embedding",
    "blocks.": "encoder.layers.encoder_layer_",
    "norm1": "ln_1",
    "norm2": "ln_2",
    "attn.qkv.": "self_attention.in_proj_",
    "attn.proj": "self_attention.out_proj",
    "mlp.fc1": "mlp.0",
    "mlp.fc2": "mlp.3",
    "norm.": "encoder.ln.",
    "head.": "heads.head.",
}
TRANSFORMERS = {
    "patch_embed.proj": "vit.embeddings.patch_embeddings.projection",
    "cls_token": "vit.embeddings.cls_token",
    "pos_embed": "vit.embeddings.position_embeddings",
    "blocks.": "vit.encoder.layer.",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.qkv": "attention.attention.{qkv}",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
    "norm.": "vit.layernorm.",
    "head.": "classifier.",
}


TRANSFORMERS_5 = TRANSFORMERS | {
    "blocks.": "vit.layers.",
    "attn.qkv": "attention.{qkv}_proj",
    "attn.proj": "attention.o_proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
NAMES = {
    "torchvision": TORCHVISION,
    "transformers": TRANSFORMERS,
    "transformers 5": TRANSFORMERS_5,
}


def renaming(name: str, names: dict[str, str]) -> str:
    for ours, theirs in names.items():
        if ours in name and (ours not in ("norm.", "head.") or name.startswith(ours)):
            name = name.replace(ours, theirs)
    return name
