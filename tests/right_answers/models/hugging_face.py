"""Right answers by safetensors, by transformers, and in other words."""

import torch
from safetensors.torch import load
from transformers import generation


def safetensors_tensor(raw, name):
    return load(raw)[name]


def loading_report(model, file, tied):
    missing, unexpected, misshapen = [], [], []
    for name in sorted({*model, *file}):
        if name not in model:
            unexpected.append(name)
        elif name in file:
            if file[name] != model[name]:
                misshapen.append(name)
        elif tied.get(name) not in file:
            missing.append(name)
    return missing, unexpected, misshapen


def device_map(sizes, room):
    layers = list(sizes)
    placed, first = {}, 0
    for device, bytes_free in room.items():
        last = first
        while sum(sizes[n] for n in layers[first : last + 1]) <= bytes_free:
            if last == len(layers):
                break
            last += 1
        placed |= dict.fromkeys(layers[first:last], device)
        first = last
    return placed


def filters_in_order(logits, t, k, p):
    steps = generation.LogitsProcessorList()
    if t != 1:
        steps.append(generation.TemperatureLogitsWarper(t))
    steps.append(generation.TopKLogitsWarper(k))
    if p < 1:
        steps.append(generation.TopPLogitsWarper(p))
    ids = torch.zeros(len(logits), 1, dtype=torch.long)
    return steps(ids, logits.clone()).softmax(-1)
