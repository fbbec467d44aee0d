"""Right answers by lists of what is held, by trying all, by playing it."""


def sharded_bytes(P, N, stage):
    kinds = [("master", 4), ("mean", 4), ("square", 4), ("grad", 2), ("w", 2)]
    sharded = [3, 4, 5]
    count = 0 if stage == 0 else sharded[stage - 1]
    return sum(
        size * P / N if i < count else size * P
        for i, (_, size) in enumerate(kinds)
    )


def best_segment(L, kept, inside):
    best, least = None, float("inf")
    for k in range(1, L + 1):
        starts = [layer for layer in range(L) if layer % k == 0]
        held = kept * len(starts) + inside * k
        if held < least:
            best, least = k, held
    return best


def bytes_sent(size, N, stage):
    sent = 0
    for _ in ("scatter", "gather", "gather")[: 3 if stage == 3 else 2]:
        for _ in range(N - 1):  # a piece goes on one place
            sent += size / N
    return sent
