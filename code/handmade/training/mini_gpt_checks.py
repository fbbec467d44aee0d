"""Refuse what a run of the capstone cannot be made of, before it begins."""

from collections.abc import Mapping

import torch
from torch import nn

from handmade import checks
from handmade.training.characters import sides
from handmade.training.checkpoint import Checkpoint
from handmade.training.checkpoint_checks import check_tensors
from handmade.training.mini_gpt_settings import Settings


def check_text(text: str, settings: Settings) -> None:
    """Refuse a text of which no run can be made.

    Raises ValueError for none, for one whose first side has no window and
    the character after it, and for one whose second has no two characters.
    """
    checks.text("text", text)
    checks.kind("settings", settings, Settings, "Settings")
    T = settings.max_seq_len
    checks.need(bool(text), "text", "none", "one character or more")
    got = f"{len(text):,} characters"
    need = f"more than {T} to train on, a window, and 2 to validate"
    checks.need(len(text) > 2, "text", got, need)
    learned, held = map(len, sides(text))
    got += f", {learned:,} to train on and {held:,} to validate"
    checks.need(learned > T and held > 1, "text", got, need)


def put_weights(model: nn.Module, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's weights into a model.

    Raises ValueError naming what is missing, unexpected or misshapen; the
    model is then as it was.
    """
    checks.module("model", model)
    checks.kind("checkpoint", checkpoint, Checkpoint, "a Checkpoint")
    prefix = "model."
    weights: Mapping[str, torch.Tensor] = {
        name.removeprefix(prefix): x
        for name, x in checkpoint.tensors.items()
        if name.startswith(prefix)
    }
    check_tensors(checkpoint.folder, model.state_dict(), weights)
    model.load_state_dict(weights)
