"""Right answers by a loop over axes, and by a power of the multiplier."""


def scalar_embed(tok_emb, pos_emb, ids):
    x = []
    for t in range(len(ids)):
        x.append([])
        for d in range(len(pos_emb[0])):
            x[t].append(tok_emb[ids[t]][d] + pos_emb[t][d])
    return x


def scalar_draw(seed, n):
    modulus = 2**31 - 1
    states = [pow(48271, k, modulus) * seed % modulus for k in range(1, n + 1)]
    return [(state % 101 - 50) / 100 for state in states]
