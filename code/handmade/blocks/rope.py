"""Rotary position embedding: position as an angle, not as a number added.

B batch · T tokens · H heads (query or key/value) · K head width

Split-half, as Hugging Face stores its weights: axis i turns together with
axis i + K/2. Meta's own checkpoints pair neighbours (2i, 2i + 1) instead;
the two are the same rotation after a permutation of the projection's rows,
so mixing them up raises no error. Left out: the scaled variants for longer
contexts.
"""

import torch

Rope = tuple[torch.Tensor, torch.Tensor]


def rope_angles(
    positions: torch.Tensor, d_head: int, theta: float = 10000.0
) -> Rope:
    """Return cos and sin of the angle of each position and axis.

    angle(t, i) = t * theta^(-2i / K) in radians, i = 0 .. K/2 - 1
    (B, T) -> (B, T, K), (B, T, K): the K/2 angles stand there twice

    Angles are float32 whatever the model computes in, as in Hugging Face.
    Raises ValueError on an odd width. [su2021]
    """
    if d_head < 2 or d_head % 2:
        raise ValueError(f"d_head: got {d_head}, want an even width")
    if theta <= 0:
        raise ValueError(f"theta: got {theta}, want a positive number")
    axis = torch.arange(0, d_head, 2, device=positions.device).float()
    frequency = 1.0 / theta ** (axis / d_head)
    angle_BTK = positions[..., None].float() * frequency
    angle_BTK = torch.cat((angle_BTK, angle_BTK), dim=-1)
    return angle_BTK.cos(), angle_BTK.sin()


def rotate_half(x: torch.Tensor) -> torch.Tensor:
    """Turn every pair by a quarter: (a, b) -> (-b, a), (..., K) -> same."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((-b, a), dim=-1)


def apply_rope(x_BHTK: torch.Tensor, rope: Rope) -> torch.Tensor:
    """Rotate queries or keys by their positions' angles.

    (a, b) -> (a cos - b sin, b cos + a sin),  (B, H, T, K) -> the same

    ``rope`` is what ``rope_angles`` returned, (B, T, K) each. Raises
    ValueError where tokens or widths differ: an axis swapped by mistake
    would broadcast and rotate the heads. [su2021]
    """
    cos, sin = rope
    if cos.shape[-2:] != x_BHTK.shape[-2:]:
        raise ValueError(
            f"rope: got angles {tuple(cos.shape)}, want "
            f"(B, T, K) with (T, K) = {tuple(x_BHTK.shape[-2:])}"
        )
    # the new axis lets all heads share the angles of their token
    cos = cos.unsqueeze(-3).to(x_BHTK.dtype)
    sin = sin.unsqueeze(-3).to(x_BHTK.dtype)
    return x_BHTK * cos + rotate_half(x_BHTK) * sin


def token_positions(attention_mask_BS: torch.Tensor) -> torch.Tensor:
    """Count the real tokens before each one, (B, S) -> (B, S).

    Padding on the left shifts nothing: the first real token is at 0, as in
    transformers' ``generate``. Padding itself gets 0.
    """
    real = attention_mask_BS.bool()
    return (real.long().cumsum(-1) - 1).masked_fill(~real, 0)
