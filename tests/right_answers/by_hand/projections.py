"""Right answers by filling in a result of zeros."""


def scalar_linear(x, weight):
    out = [[0.0 for _ in weight] for _ in x]
    for d in range(len(x[0])):
        for t in range(len(x)):
            for f in range(len(weight)):
                out[t][f] += x[t][d] * weight[f][d]
    return out
