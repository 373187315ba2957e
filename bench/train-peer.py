# The network of train.bench.ts in PyTorch, for the comparison beside it. Prints one JSON document.
# Usage: python train-peer.py '{"width": 16, "blocks": 3, "batch": 64, "threads": 2, "steps": 12, "format": "eager"}'
# With "share": a folder, it also writes initial weights, batches and its own losses there.

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
CHANNELS_LAST = settings["format"] == "channels_last"


class Block(nn.Module):
    def __init__(self, before, after, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.shortcut = nn.Sequential()
        if stride > 1 or before != after:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x):
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


def network(width, blocks):
    parts = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    before = width
    for stage in range(3):
        for i in range(blocks):
            after = width << stage
            parts.append(Block(before, after, 2 if stage > 0 and i == 0 else 1))
            before = after
    return nn.Sequential(
        *parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, 10)
    )


def save(name, tensors):
    with open(os.path.join(settings["share"], name), "wb") as file:
        for tensor in tensors:
            file.write(tensor.detach().contiguous().numpy().tobytes())


batch, steps = settings["batch"], settings["steps"]
size = settings.get("size", 32)
net = network(settings["width"], settings["blocks"])
share = settings.get("share")
if share is not None:
    save("weights.f32", [p for p in net.parameters()])
if CHANNELS_LAST:
    net = net.to(memory_format=torch.channels_last)
if settings["format"] == "float64":
    net = net.double()
optimizer = torch.optim.SGD(
    net.parameters(), lr=settings.get("rate", 0.1), momentum=0.9
)
images = torch.randn(steps, batch, 3, size, size)
labels = torch.randint(0, 10, (steps, batch))
if share is not None:
    save("images.f32", [images])
    save("labels.i64", [labels])
if settings["format"] == "float64":
    images = images.double()

times, losses = [], []
for step in range(steps):
    start = time.perf_counter()
    x = images[step]
    if CHANNELS_LAST:
        x = x.to(memory_format=torch.channels_last)
    optimizer.zero_grad()
    loss = F.cross_entropy(net(x), labels[step])
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
    times.append(1000 * (time.perf_counter() - start))
print(
    json.dumps(
        {
            "version": torch.__version__,
            "stepMs": sorted(times)[steps // 2],
            "fastestMs": min(times),
            "peakRssBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "losses": losses,
        }
    )
)
