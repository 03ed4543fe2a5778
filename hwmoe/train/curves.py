"""Loss and accuracy over the epochs, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from hwmoe.files import replacing


def draw_curves(history: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """Write a PNG: the mean loss of each epoch, and top-1 by task and form of the experts."""
    epochs = [entry["epoch"] for entry in history]
    figure = Figure(figsize=(9.0, 3.4), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    loss.plot(epochs, [entry["loss"] for entry in history], color="black")
    loss.set(xlabel="epoch", ylabel="loss", title=title)
    for form, line in (("float", "--"), ("ternary", "-")):
        if form not in history[0]:
            continue
        for number, task in enumerate(history[0][form]):
            values = [100 * entry[form][task] for entry in history]
            label = f"{task}, {form} experts"
            accuracy.plot(epochs, values, line, color=f"C{number}", label=label)
    accuracy.set(xlabel="epoch", ylabel="top-1 in %", title="averaged weights, test images")
    accuracy.legend(frameon=False)
    for axes in (loss, accuracy):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    with replacing(path) as beside:
        figure.savefig(beside, format="png", dpi=120)
