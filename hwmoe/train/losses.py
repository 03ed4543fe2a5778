"""Terms of the loss: labels, a teacher, and an even load of the experts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from hwmoe.model.vit import MoE, MoEViT

if TYPE_CHECKING:
    from typing_extensions import Self


class _Hooks:
    """Forward hooks that are gone when the block is left."""

    def __init__(self) -> None:
        self.handles: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self.handles:
            handle.remove()


class Balance(_Hooks):
    """Load-balancing loss of all MoE layers, gathered while the model runs.

    Fedus et al., "Switch Transformers" (JMLR 2022), equation 4, for top-k as GShard has it: E
    times the sum over experts of (share of the choices x mean of the gate's softmax); 1 if even.
    """

    def __init__(self, model: MoEViT) -> None:
        super().__init__()
        self.losses: list[Tensor] = []
        for module in model.modules():
            if isinstance(module, MoE):
                self.handles.append(module.register_forward_hook(self._hook))

    def _hook(self, module: nn.Module, args: tuple[Tensor, int], _: Tensor) -> None:
        assert isinstance(module, MoE)
        logits = module.gate_logits(args[0], args[1]).flatten(0, -2)
        chosen = F.one_hot(module.route(logits)[0], module.experts).sum(1).float()
        share = chosen.mean(0) / module.top_k
        self.losses.append(module.experts * (share * logits.softmax(-1).mean(0)).sum())

    def take(self) -> Tensor:
        """The mean since the last call; 0 for a model without experts."""
        loss = torch.stack(self.losses).mean() if self.losses else torch.zeros(())
        self.losses.clear()
        return loss


class Features(_Hooks):
    """The residual stream after every block [B, T, D] of the last forward pass, with gradient."""

    def __init__(self, model: MoEViT) -> None:
        super().__init__()
        self.values: dict[int, Tensor] = {}
        for index, block in enumerate(model.blocks):
            self.handles.append(block.register_forward_hook(self._hook(index)))

    def _hook(self, index: int) -> Callable[[nn.Module, object, Tensor], None]:
        def keep(_: nn.Module, __: object, output: Tensor) -> None:
            self.values[index] = output

        return keep

    def take(self) -> list[Tensor]:
        """Those of the last pass, first block first; they are let go."""
        values = [self.values[index] for index in sorted(self.values)]
        self.values.clear()
        return values


def distillation(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(teacher || student) of softened softmaxes, mean over images [B, classes].

    Hinton et al., "Distilling the Knowledge in a Neural Network" (2015), section 2.
    """
    ours = F.log_softmax(logits / temperature, dim=-1)
    theirs = F.log_softmax(teacher / temperature, dim=-1)
    return temperature**2 * F.kl_div(ours, theirs, reduction="batchmean", log_target=True)


def feature_distance(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    """Mean over blocks of the squared distance, by the variance of the teacher's features."""
    pairs = list(zip(ours, theirs, strict=True))
    return torch.stack([F.mse_loss(a, b) / b.var().clamp(min=1e-6) for a, b in pairs]).mean()
