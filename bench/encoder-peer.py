# The network of encoder.bench.ts in PyTorch, from its own modules. Prints one JSON document.
# With "share": a folder, it also writes initial weights, their places, and batches there.

import json
import os
import resource
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

settings = json.loads(sys.argv[1])
torch.manual_seed(settings.get("seed", 1))
torch.set_num_threads(settings["threads"])
width, length = settings["width"], settings["length"]
batch, steps, blocks = settings["batch"], settings["steps"], settings["blocks"]


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.positions = nn.Parameter(0.02 * torch.randn(length, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                settings["heads"],
                settings["units"],
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = x + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


def named(net):
    """Weights as nn/ names them: products of sequences have them [in, out], those of vectors [out, in]."""
    yield "positions.weight", net.positions
    for i, block in enumerate(net.blocks):
        at = f"block{i + 1}"
        attention = block.self_attn
        parts = zip(
            ("query", "key", "value"),
            attention.in_proj_weight.chunk(3),
            attention.in_proj_bias.chunk(3),
        )
        dense = [(f"attention.{name}", w, b) for name, w, b in parts]
        dense += [
            (f"{name}", linear.weight, linear.bias)
            for name, linear in (
                ("attention.out", attention.out_proj),
                ("mlp.up", block.linear1),
                ("mlp.down", block.linear2),
            )
        ]
        for name, weight, bias in dense:
            yield f"{at}.{name}.weight", weight.t()
            yield f"{at}.{name}.bias", bias
        for name, norm in (("attention", block.norm1), ("mlp", block.norm2)):
            yield f"{at}.{name}_norm.scale", norm.weight
            yield f"{at}.{name}_norm.bias", norm.bias
    yield "norm.scale", net.norm.weight
    yield "norm.bias", net.norm.bias
    yield "head.weight", net.head.weight
    yield "head.bias", net.head.bias


def save(name, tensors):
    with open(os.path.join(settings["share"], name), "wb") as file:
        for tensor in tensors:
            file.write(tensor.detach().contiguous().numpy().tobytes())


net = Encoder()
x = torch.randn(steps, batch, length, width)
labels = torch.randint(0, 10, (steps, batch))
if settings.get("share") is not None:
    weights = list(named(net))
    places, at = {}, 0
    for name, weight in weights:
        places[name] = at
        at += weight.numel()
    save("weights.f32", [weight for _, weight in weights])
    save("x.f32", [x])
    save("labels.i64", [labels])
    with open(os.path.join(settings["share"], "places.json"), "w") as file:
        json.dump(places, file)

optimizer = torch.optim.SGD(net.parameters(), lr=settings["rate"], momentum=0.9)
times, processor, losses = [], [], []
for step in range(steps):
    start, used = time.perf_counter(), time.process_time()
    optimizer.zero_grad()
    loss = F.cross_entropy(net(x[step]), labels[step])
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
    times.append(1000 * (time.perf_counter() - start))
    processor.append(1000 * (time.process_time() - used))
print(
    json.dumps(
        {
            "version": torch.__version__,
            "stepMs": sorted(times)[steps // 2],
            "fastestMs": min(times),
            "cpuMs": sorted(processor)[steps // 2],
            "peakRssBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "losses": losses,
        }
    )
)
