"""What a stopped run needs to go on as if it had not stopped: one file, replaced as a whole.

Weights, their average, optimizer, schedule, random generator and place in the epoch belong
together; in one file they can never be of two moments. It is read with ``weights_only``: no code
in it is run.
"""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from hwmoe.errors import HwmoeError
from hwmoe.files import replacing
from hwmoe.model.vit import MoEViT

FORMAT = 1
State = dict[str, Any]


def state_path(out: Path) -> Path:
    """Where the run that writes ``out`` keeps its state."""
    return out.with_name(out.name + ".state")


def weights_digest(model: MoEViT) -> str:
    """Changes with any weight."""
    total = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        total.update(name.encode() + value.detach().contiguous().numpy().tobytes())
    return total.hexdigest()


def save_state(path: Path, state: State) -> None:
    """Replace the file."""
    with replacing(path) as beside:
        torch.save(state | {"format": FORMAT}, beside)


def load_state(path: Path, run: dict[str, Any]) -> State:
    """Read the state of the run described by ``run``; `HwmoeError` if it is of another one."""
    if not path.is_file():
        raise HwmoeError(f"{path} does not exist: there is no run to resume; leave out --resume")
    try:
        state = torch.load(path, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, zipfile.BadZipFile) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise HwmoeError(f"{path} is damaged: {first}; delete it and train again") from None
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise HwmoeError(f"{path} is not the state of a training run of this version")
    before = state["run"]
    changed = sorted(key for key in run if before.get(key) != run[key])
    if changed:
        lines = "\n".join(f"  {key}: was {before.get(key)!r}, is {run[key]!r}" for key in changed)
        raise HwmoeError(f"{path} is of another run; train without --resume, or mend:\n{lines}")
    return state
