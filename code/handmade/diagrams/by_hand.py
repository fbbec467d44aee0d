"""``by_hand_graph``: the model of `scalar`, drawn as far as a page has come.

The names are those of ``scalar.VALUES``; on the way back a name with ∂ is
the gradient at it.
"""

from handmade import scalar
from handmade.diagrams.dataflow import flow
from handmade.diagrams.svg import Drawing

STEPS = {
    "tokens": """
        ids (T) -> tok_emb -> tok (T,D)
        places (T) -> pos_emb -> pos (T,D)
        tok, pos -> + -> x (T,D)
    """,
    "projections": """
        x -> layer_norm -> attn_norm (T,D)
        attn_norm -> q_proj, split -> q (H,T,K)
        attn_norm -> k_proj, split -> k (H,T,K)
        attn_norm -> v_proj, split -> v (H,T,K)
    """,
    "attention": """
        q, k -> match, mask -> scores (H,T,T) -> softmax -> weights (H,T,T)
        weights, v -> mix -> heads (H,T,K)
    """,
    "multi-head": """
        heads -> merge -> merged (T,D) -> o_proj -> attn (T,D)
        x, attn -> + -> x_attn (T,D)
    """,
    "feedforward": """
        x_attn -> layer_norm -> ffn_norm (T,D) -> up_proj -> up (T,F)
        up -> gelu -> bent (T,F) -> down_proj -> ffn (T,D)
        x_attn, ffn -> + -> x_ffn (T,D)
    """,
    "layer-norm": """
        x_ffn -> layer_norm -> norm (T,D)
    """,
    "loss": """
        norm -> tok_emb, transposed -> logits (T,V)
        logits, targets (T) -> cross_entropy -> loss ()
    """,
}

# the way back: ∂x is the gradient at x, and a mark means "backward"
BACK = {
    "backward-loss": """
        loss () -> softmax − target -> ∂logits (T,V)
        ∂logits, tok_emb (V,D) -> match -> ∂norm (T,D)
        ∂logits, norm (T,D) -> match, transposed -> ∂tok_emb (V,D)
    """,
    "backward-block": """
        ∂norm (T,D) -> layer_norm′ -> ∂x_ffn (T,D)
        ∂x_ffn -> down_proj′ -> ∂bent (T,F) -> gelu′ -> ∂up (T,F)
        ∂up -> up_proj′ -> ∂ffn_norm (T,D) -> layer_norm′ -> through_ffn (T,D)
        ∂x_ffn, through_ffn -> + -> ∂x_attn (T,D)
        ∂x_attn -> o_proj′ -> ∂merged (T,D) -> split -> ∂heads (H,T,K)
        ∂heads -> attention′ -> ∂q, ∂k, ∂v
        ∂q, ∂k, ∂v -> projections′ -> ∂attn_norm (T,D)
        ∂attn_norm -> layer_norm′ -> through_attn (T,D)
        ∂x_attn, through_attn -> + -> ∂x (T,D)
        ∂x -> pos_emb′ -> ∂pos_emb (P,D)
        ∂x -> tok_emb′ -> ∂tok_emb (V,D)
    """,
}


def by_hand_graph(upto: str) -> Drawing:
    """Draw the steps of the pages up to one, or the way back that it takes.

    Raises ValueError for what is no step.
    """
    if not isinstance(upto, str) or upto not in STEPS | BACK:
        raise ValueError(
            f"upto: got {upto!r:.60}, want one of {', '.join(STEPS | BACK)}"
        )
    if upto in BACK:
        return flow(BACK[upto])
    table = ""
    for step, lines in STEPS.items():
        table += lines
        if step == upto:
            break
    heads = scalar.N_HEADS
    sizes = {
        **scalar.SIZES,
        "T": len(scalar.IDS),
        "H": heads,
        "K": scalar.SIZES["D"] // heads,
    }
    drawn = {
        name: tuple(sizes[letter] for letter in letters)
        for name, letters in scalar.VALUES.items()
        if f" {name} (" in table
    }
    return flow(table, drawn)
