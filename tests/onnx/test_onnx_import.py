"""Models written and exported by others, imported and compared with the PyTorch they came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign_models import SparseExperts, ViT, export
from small_models import small
from torch import Tensor, nn
from torch.nn import functional as F

from hwmoe.model.checkpoint import load_checkpoint, save_checkpoint
from hwmoe.model.loaders.imported import Imported
from hwmoe.model.loaders.load import import_file
from hwmoe.model.loaders.options import ImportOptions
from hwmoe.model.vit import MoEViT

IMAGES = torch.rand(6, 3, 8, 12, generator=torch.Generator().manual_seed(5))


def same(imported: Imported, source: nn.Module, tolerance: float = 2e-5) -> None:
    """The imported model computes what the source computes, on images the import never saw."""
    with torch.no_grad():
        torch.testing.assert_close(
            imported.model()(IMAGES), source(IMAGES), rtol=tolerance, atol=tolerance
        )


@pytest.mark.parametrize(
    ("attention", "experts", "options"),
    [
        ("timm", None, {}),
        ("head-first", "masked", {}),
        ("bert", "gathered", {}),
        ("timm", "scored", {}),
        ("timm", "batched", {"opset_version": 14}),  # LayerNorm and GELU as single operations
        ("bert", "masked", {"dynamic_axes": None, "batch": 3}),  # this batch only
    ],
)
def test_styles(
    tmp_path: Path, attention: str, experts: str | None, options: dict[str, Any]
) -> None:
    source = ViT(attention, experts)
    imported = import_file(export(source, tmp_path / "model.onnx", **options))
    config = imported.config
    assert (config.image, config.patch, config.channels) == ((8, 12), (4, 4), 3)
    assert (config.dim, config.heads, config.depth) == (12, 3, 2)
    assert config.moe_layers == ((1,) if experts else ())
    if experts:
        assert (config.experts, config.top_k, config.expert_hidden) == (4, 2, 8)
        assert config.gate_scores == ("all" if experts == "scored" else "topk")
    assert set(imported.sources) == set(imported.state)
    same(imported, source)


@pytest.mark.parametrize("name", ["sparse", "ours"])
def test_the_default_exporter(tmp_path: Path, name: str) -> None:
    """Rows found by `where`: only `torch.export` leaves their number open."""
    if name == "sparse":
        source = ViT("timm", "sparse")
        imported = import_file(export(source, tmp_path / "model.onnx", dynamo=True))
        assert imported.config.shared_hidden == 9
        assert imported.sources["blocks.1.moe.shared.fc1.weight"].startswith("blocks.1.mlp.shared")
        same(imported, source)
        return
    net = small(
        channels=3, gate_scores="all", pixel_mean=(0.4, 0.5, 0.6), pixel_std=(0.2, 0.3, 0.4)
    )

    class Both(nn.Module):
        def __init__(self, model: MoEViT) -> None:
            super().__init__()
            self.model = model

        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return self.model(images, 0), self.model(images, 1)

    path = export(Both(net.model), tmp_path / "ours.onnx", dynamo=True, output_names=["a", "b"])
    imported = import_file(path)
    assert imported.config.model_dump() == {
        **net.config.model_dump(),
        "name": "ours",
        "pixel_mean": pytest.approx((0.4, 0.5, 0.6)),
        "pixel_std": pytest.approx((0.2, 0.3, 0.4)),
        "norm_eps": pytest.approx(1e-6),
    }
    for name, value in net.model.state_dict().items():
        torch.testing.assert_close(imported.state[name], value, msg=name)


def test_the_order_of_experts_is_that_of_the_gate(tmp_path: Path) -> None:
    source = ViT("timm", "masked")
    mixture = source.blocks[1].mlp
    imported = import_file(export(source, tmp_path / "model.onnx"))
    expected = torch.stack([expert.fc1.weight for expert in mixture.experts])
    torch.testing.assert_close(imported.state["blocks.1.moe.fc1.weight"], expected)
    torch.testing.assert_close(imported.state["blocks.1.moe.gate"][0], mixture.gate.weight)

    class Turned(nn.Module):
        """The experts answer to other logits."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = mixture

        def forward(self, x: Tensor) -> Tensor:
            values, index = self.inner.gate(x).topk(2, dim=-1)
            out = torch.zeros_like(x)
            for e, expert in enumerate(self.inner.experts):
                share = ((index == (3 - e)) * values.softmax(-1)).sum(-1, keepdim=True)
                out = out + share * expert(x)
            return out

    source.blocks[1].mlp = Turned()
    turned = import_file(export(source, tmp_path / "turned.onnx"))
    torch.testing.assert_close(turned.state["blocks.1.moe.fc1.weight"], expected.flip(0))
    same(turned, source)


@pytest.mark.parametrize("options", [{}, {"opset_version": 16}])
def test_tanh_gelu_is_replaced_and_said(tmp_path: Path, options: dict[str, Any]) -> None:
    source = ViT("bert", "masked", "tanh")
    imported = import_file(export(source, tmp_path / "model.onnx", **options))
    said = {note.name: note.text for note in imported.notes}
    assert "exact GELU" in said["Gelu"]
    assert "differs by up to" in said["check"]
    same(imported, source, 2e-3)
    with pytest.raises(AssertionError):
        same(imported, source, 1e-6)


class Unusual(ViT):
    """Pixels normalised in the graph, patches cut by reshapes, the class token last."""

    def forward(self, image: Tensor) -> Tensor:
        image = (image - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) * 4.0
        x = image.reshape(-1, 3, 2, 4, 3, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 6, 48)
        weight = self.patch_embed.weight.permute(0, 2, 3, 1).reshape(-1, 48)
        x = F.linear(x, weight, self.patch_embed.bias)
        x = torch.cat((x, self.cls_token.expand(x.shape[0], -1, -1)), dim=1) + self.pos_embed
        return self.head(self.norm(self.blocks(x)[:, -1]))


def test_unusual_embedding(tmp_path: Path) -> None:
    source = Unusual("timm", "gathered")
    imported = import_file(export(source, tmp_path / "model.onnx"))
    assert imported.config.pixel_mean == pytest.approx((0.5, 0.4, 0.3))
    assert imported.config.pixel_std == pytest.approx((0.25, 0.25, 0.25))
    same(imported, source)


def test_what_the_graph_leaves_open_may_be_said(tmp_path: Path) -> None:
    source = ViT("timm")
    path = export(source, tmp_path / "model.onnx")
    options = ImportOptions(
        name="mine", tasks=("birds",), pixel_mean=(0.5,) * 3, pixel_std=(0.25,) * 3
    )
    imported = import_file(path, options)
    assert (imported.config.name, imported.config.tasks[0].name) == ("mine", "birds")
    with torch.no_grad():
        found = imported.model()(IMAGES)
        torch.testing.assert_close(found, source((IMAGES - 0.5) / 0.25), rtol=1e-4, atol=1e-4)
    save_checkpoint(tmp_path / "mine.safetensors", imported.model())
    again = load_checkpoint(tmp_path / "mine.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(again(IMAGES), found)


def test_weights_beside_the_file(tmp_path: Path) -> None:
    """External data, as PyTorch writes it for large models."""
    import onnx

    source = ViT("timm")
    plain = onnx.load(export(source, tmp_path / "model.onnx"))
    onnx.save(
        plain, tmp_path / "split.onnx", save_as_external_data=True, location="w.bin",
        size_threshold=64,
    )  # fmt: skip
    assert (tmp_path / "w.bin").stat().st_size > 1000
    same(import_file(tmp_path / "split.onnx"), source)


def test_a_shared_expert_of_the_same_size_is_told_from_the_routed(tmp_path: Path) -> None:
    class Shared(nn.Module):
        def __init__(self, inner: nn.Module, shared: nn.Module) -> None:
            super().__init__()
            self.inner, self.shared = inner, shared

        def forward(self, x: Tensor) -> Tensor:
            return self.shared(x) + self.inner(x)

    source = ViT("timm", "masked")
    extra = SparseExperts(12, 7, 4, 2).shared_expert  # hidden size 8, as the experts
    source.blocks[1].mlp = Shared(source.blocks[1].mlp, extra)
    imported = import_file(export(source, tmp_path / "model.onnx"))
    torch.testing.assert_close(imported.state["blocks.1.moe.shared.fc1.weight"], extra.fc1.weight)
    same(imported, source)
    assert np.prod(imported.state["blocks.1.moe.fc1.weight"].shape) == 4 * 8 * 12
