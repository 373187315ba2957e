"""The PyTorch half of `npm run interop:gradients`.

`export DIR` writes small networks as ONNX files and beside them what PyTorch's own gradients are, in float64,
as one JSON document. Most are written by the tracing exporter (operator set 17, nothing folded), some by the
newer one as it is by default, which transposes and renames weights: those are found by what they hold.
`check DIR` runs onnx's checker over the files there. Needs torch, onnx and onnxscript; the product does not.
"""

import json
import math
import pathlib
import sys
import warnings

import onnx
import onnx.numpy_helper
import torch
import torch.nn.functional as F
from torch import nn


class Basic(nn.Module):
    """Residual block of two convolutions (He et al. 2016)."""

    def __init__(self, inner, outer, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inner, outer, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outer)
        self.conv2 = nn.Conv2d(outer, outer, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outer)
        self.short = nn.Sequential()
        if stride != 1 or inner != outer:
            self.short = nn.Sequential(
                nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer)
            )

    def forward(self, x):
        h = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(h)) + self.short(x))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        self.blocks = nn.Sequential(Basic(8, 8), Basic(8, 16, 2))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16, 10)

    def forward(self, x):
        return self.fc(torch.flatten(self.pool(self.blocks(self.stem(x))), 1))


class CifarResNet(nn.Module):
    """The form for small images, without max pooling."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 1, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.blocks = nn.Sequential(Basic(6, 6), Basic(6, 12, 2))
        self.fc = nn.Linear(12, 10)

    def forward(self, x):
        return self.fc(F.adaptive_avg_pool2d(self.blocks(self.stem(x)), 1).flatten(1))


class Dense(nn.Module):
    """Dense block with a transition (Huang et al. 2017)."""

    def __init__(self, growth=4, layers=3):
        super().__init__()
        width = 6
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.layers = nn.ModuleList()
        for _ in range(layers):
            self.layers.append(
                nn.Sequential(
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                    nn.Conv2d(width, growth, 3, padding=1, bias=False),
                )
            )
            width += growth
        self.transition = nn.Sequential(
            nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 8, 1), nn.AvgPool2d(2)
        )
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        features = [self.stem(x)]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return self.head(self.transition(torch.cat(features, 1)).mean((2, 3)))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(1, 4, 3, padding=1)
        self.deep = nn.Conv2d(4, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.smooth = nn.Conv2d(8, 4, 3, padding=1)
        self.scale = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.out = nn.Conv2d(4, 3, 1)

    def forward(self, x):
        skip = F.relu(self.down(x))
        deep = F.relu(self.deep(F.max_pool2d(skip, 2)))
        merged = F.relu(self.smooth(torch.cat([self.up(deep), skip], 1)))
        return self.out(F.avg_pool2d(self.scale(merged), 2))


class Inverted(nn.Module):
    """Inverted residual of MobileNetV2 and the gates of V3."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 2, 1)
        self.expand = nn.Conv2d(6, 18, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(18)
        self.depth = nn.Conv2d(18, 18, 3, 1, 1, groups=18, bias=False)
        self.bn2 = nn.BatchNorm2d(18)
        self.squeeze = nn.Conv2d(18, 4, 1)
        self.excite = nn.Conv2d(4, 18, 1)
        self.project = nn.Conv2d(18, 6, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = F.hardswish(self.stem(x))
        h = F.relu6(self.bn1(self.expand(x)))
        h = F.relu6(self.bn2(self.depth(h)))
        gate = F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(h, 1)))))
        x = x + self.bn3(self.project(h * gate))
        return self.head(x.mean((2, 3)))


class Recurrent(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.rnn = kind(6, 5, batch_first=True, **options)
        width = 10 if options.get("bidirectional") else 5
        self.head = nn.Linear(width, 4)

    def forward(self, tokens):
        return self.head(self.rnn(self.embed(tokens))[0])


class Attention(nn.Module):
    def __init__(self, width, heads, causal):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x):
        batch, length, width = x.shape
        split = lambda t: t.view(batch, length, self.heads, width // self.heads).transpose(1, 2)
        q, k, v = (split(t) for t in self.qkv(x).chunk(3, dim=-1))
        scores = q @ k.transpose(-2, -1) / math.sqrt(width // self.heads)
        if self.causal:
            mask = torch.triu(torch.ones(length, length, dtype=torch.bool), 1)
            scores = scores.masked_fill(mask, float("-inf"))
        y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, width)
        return self.out(y)


class Block(nn.Module):
    def __init__(self, width, heads, causal):
        super().__init__()
        self.ln1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal)
        self.ln2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)

    def forward(self, x):
        x = x + self.attention(self.ln1(x))
        return x + self.down(F.gelu(self.up(self.ln2(x))))


class CausalLM(nn.Module):
    """Language model whose output weights are its embedding."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(13, 8)
        self.places = nn.Parameter(torch.randn(1, 6, 8) * 0.1)
        self.blocks = nn.Sequential(Block(8, 2, True), Block(8, 2, True))
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 13, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        x = self.embed(tokens) + self.places[:, : tokens.shape[1]]
        return self.head(self.norm(self.blocks(x)))


class Llama(nn.Module):
    """RMS norm, rotary positions, SiLU gates (Touvron et al. 2023), written out."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(13, 8)
        self.g1 = nn.Parameter(torch.ones(8))
        self.g2 = nn.Parameter(torch.ones(8))
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8, bias=False) for _ in range(4))
        self.gate, self.up = nn.Linear(8, 12, bias=False), nn.Linear(8, 12, bias=False)
        self.down = nn.Linear(12, 8, bias=False)
        self.head = nn.Linear(8, 13, bias=False)

    @staticmethod
    def norm(x, gain):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * gain

    @staticmethod
    def rotate(x):
        length, half = x.shape[-2], x.shape[-1] // 2
        rates = 10000 ** (-torch.arange(half, dtype=x.dtype) / half)
        angles = torch.outer(torch.arange(length, dtype=x.dtype), rates)
        cos, sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)
        a, b = x[..., :half], x[..., half:]
        return x * cos + torch.cat([-b, a], -1) * sin

    def forward(self, tokens):
        x = self.embed(tokens)
        batch, length, width = x.shape
        split = lambda t: t.view(batch, length, 2, width // 2).transpose(1, 2)
        h = self.norm(x, self.g1)
        q, k, v = self.rotate(split(self.q(h))), self.rotate(split(self.k(h))), split(self.v(h))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(y.transpose(1, 2).reshape(batch, length, width))
        h = self.norm(x, self.g2)
        x = x + self.down(F.silu(self.gate(h)) * self.up(h))
        return self.head(x)


class ViT(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 8) * 0.1)
        self.places = nn.Parameter(torch.randn(1, 5, 8) * 0.1)
        self.blocks = nn.Sequential(Block(8, 2, False), Block(8, 4, False))
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 6)

    def forward(self, x):
        patches = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), patches], 1) + self.places
        return self.head(self.norm(self.blocks(x))[:, 0])


class Groups(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.group = nn.GroupNorm(4, 8)
        self.instance = nn.InstanceNorm2d(8, affine=True)
        self.prelu = nn.PReLU(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        h = F.silu(self.group(self.conv(x)))
        return self.head(F.elu(self.instance(self.prelu(h)) + h).amax((2, 3)))


def encoder():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, norm_first=True)
    return nn.Sequential(nn.Linear(5, 8), nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(8, 3))


def mlp():
    return nn.Sequential(
        nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.LeakyReLU(0.1), nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 3)
    )


def activations():
    kinds = [nn.Softplus(), nn.ELU(0.7), nn.SELU(), nn.CELU(1.3), nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish()]
    kinds += [nn.Hardtanh(-0.5, 0.5), nn.Hardswish(), nn.Softsign(), nn.LogSigmoid(), nn.Tanhshrink()]
    layers = [layer for kind in kinds for layer in (nn.Linear(6, 6), kind)]
    return nn.Sequential(*layers, nn.Linear(6, 3))


IMAGE = (4, 3, 16, 16)
TOKENS = ("tokens", (3, 6))

# name, module, shape of the input, loss, shape of the target, options
CASES = [
    ("mlp", mlp, (5, 6), "mse", (5, 3), {}),
    ("activations", activations, (5, 6), "mse", (5, 3), {}),
    ("cifar-resnet-eval", CifarResNet, IMAGE, "cross-entropy", (4,), {}),
    ("cifar-resnet-train", CifarResNet, IMAGE, "cross-entropy", (4,), {"train": "preserve"}),
    ("resnet-eval", ResNet, IMAGE, "cross-entropy", (4,), {}),
    ("resnet-train", ResNet, IMAGE, "cross-entropy", (4,), {"train": "preserve"}),
    ("resnet-eval-export-train", ResNet, IMAGE, "cross-entropy", (4,), {"train": "mode"}),
    ("densenet", Dense, (3, 3, 8, 8), "cross-entropy", (3,), {}),
    ("densenet-train", Dense, (3, 3, 8, 8), "cross-entropy", (3,), {"train": "preserve"}),
    ("unet", UNet, (2, 1, 8, 8), "cross-entropy", (2, 8, 8), {"classAxis": 1}),
    ("mobilenet", Inverted, (3, 3, 8, 8), "cross-entropy", (3,), {"train": "preserve"}),
    ("lstm", lambda: Recurrent(nn.LSTM), TOKENS, "cross-entropy", (3, 6), {}),
    ("lstm-bidirectional", lambda: Recurrent(nn.LSTM, bidirectional=True, num_layers=2), TOKENS, "cross-entropy", (3, 6), {}),
    ("gru", lambda: Recurrent(nn.GRU), TOKENS, "cross-entropy", (3, 6), {}),
    ("rnn", lambda: Recurrent(nn.RNN), TOKENS, "cross-entropy", (3, 6), {}),
    ("causal-lm", CausalLM, TOKENS, "cross-entropy", (3, 6), {}),
    ("llama", Llama, TOKENS, "cross-entropy", (3, 6), {}),
    ("vit", ViT, (2, 3, 8, 8), "cross-entropy", (2,), {}),
    ("encoder", encoder, (2, 4, 5), "mse", (2, 4, 3), {}),
    ("group-norm", Groups, (2, 3, 6, 6), "cross-entropy", (2,), {}),
    ("resnet-opset-9", ResNet, IMAGE, "cross-entropy", (4,), {"opset": 9}),
    ("unet-opset-11", UNet, (2, 1, 8, 8), "cross-entropy", (2, 8, 8), {"classAxis": 1, "opset": 11}),
    ("mobilenet-opset-12", Inverted, (3, 3, 8, 8), "cross-entropy", (3,), {"train": "preserve", "opset": 12}),
    ("gru-opset-13", lambda: Recurrent(nn.GRU), TOKENS, "cross-entropy", (3, 6), {"opset": 13}),
    ("vit-opset-14", ViT, (2, 3, 8, 8), "cross-entropy", (2,), {"opset": 14}),
    ("group-norm-opset-11", Groups, (2, 3, 6, 6), "cross-entropy", (2,), {"opset": 11}),
    ("encoder-opset-20", encoder, (2, 4, 5), "mse", (2, 4, 3), {"opset": 20}),
    ("resnet-any-batch", ResNet, IMAGE, "cross-entropy", (4,), {"train": "preserve", "free": [0]}),
    ("densenet-any-size", Dense, (3, 3, 8, 8), "cross-entropy", (3,), {"free": [0, 2, 3]}),
    ("unet-any-batch", UNet, (2, 1, 8, 8), "cross-entropy", (2, 8, 8), {"classAxis": 1, "free": [0]}),
    ("mobilenet-any-size", Inverted, (3, 3, 8, 8), "cross-entropy", (3,), {"free": [0, 2, 3]}),
    ("lstm-any-batch", lambda: Recurrent(nn.LSTM), TOKENS, "cross-entropy", (3, 6), {"free": [0]}),
    ("causal-lm-any-length", CausalLM, TOKENS, "cross-entropy", (3, 6), {"free": [0, 1]}),
    ("llama-any-length", Llama, TOKENS, "cross-entropy", (3, 6), {"free": [0, 1]}),
    ("vit-any-batch", ViT, (2, 3, 8, 8), "cross-entropy", (2,), {"free": [0]}),
    ("encoder-any-length", encoder, (2, 4, 5), "mse", (2, 4, 3), {"free": [0, 1]}),
    ("group-norm-any-size", Groups, (2, 3, 6, 6), "cross-entropy", (2,), {"free": [0, 2, 3]}),
    ("densenet-new", Dense, (3, 3, 8, 8), "cross-entropy", (3,), {"new": True}),
    ("unet-new", UNet, (2, 1, 8, 8), "cross-entropy", (2, 8, 8), {"classAxis": 1, "new": True}),
    ("causal-lm-new", CausalLM, TOKENS, "cross-entropy", (3, 6), {"new": True}),
    ("llama-new", Llama, TOKENS, "cross-entropy", (3, 6), {"new": True}),
    ("vit-new", ViT, (2, 3, 8, 8), "cross-entropy", (2,), {"new": True}),
    ("encoder-new", encoder, (2, 4, 5), "mse", (2, 4, 3), {"new": True}),
    ("activations-new", activations, (5, 6), "mse", (5, 3), {"new": True}),
]


def main():
    warnings.filterwarnings("ignore")
    command, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    if command == "export":
        cases = [export(folder, number, *case) for number, case in enumerate(CASES)]
        (folder / "cases.json").write_text(json.dumps({"torch": torch.__version__, "cases": cases}))
    else:
        for file in sorted(folder.glob("*.grad.onnx")):
            try:
                onnx.checker.check_model(onnx.load(file), full_check=True)
            except Exception as error:
                print(f"{file.name}\t{' '.join(str(error).split())[:300]}")


def export(folder, number, name, make, shape, loss, target_shape, options):
    torch.manual_seed(number + 1)
    net = make()
    spread(net)
    train = options.get("train")
    # What is trained has its statistics of the batch in the reference, whatever the file says.
    net.train(train is not None)
    if shape[0] == "tokens":
        x = torch.randint(0, 11, shape[1])
    else:
        x = torch.randn(shape)
    classes = net(x).shape[options.get("classAxis", -1)]
    target = torch.randn(target_shape) if loss == "mse" else torch.randint(0, classes, target_shape)
    if train == "mode":
        net.eval()
    write(net, x, folder / f"{name}.onnx", options)
    net.train(train is not None)
    parts = partsOf(net, folder / f"{name}.onnx")
    exact = net.double()
    y = exact(x.double() if x.is_floating_point() else x)
    value = lossOf(loss, y, target, options.get("classAxis", -1))
    value.backward()
    return {
        "name": name,
        "loss": loss,
        "classAxis": options.get("classAxis"),
        "mode": "eval" if train is None else "train",
        "input": tensor(x),
        "target": tensor(target),
        "value": value.item(),
        "gradients": [
            {"weight": key, "parts": parts[key], **tensor(p.grad)}
            for key, p in exact.named_parameters()
            if parts[key]
        ],
    }


def write(net, x, path, options):
    if options.get("new"):
        torch.onnx.export(net, (x,), str(path), dynamo=True, external_data=False, verbose=False)
        return
    kept = options.get("train") == "preserve"
    torch.onnx.export(
        net,
        (x,),
        str(path),
        dynamo=False,
        opset_version=options.get("opset", 17),
        do_constant_folding=False,
        input_names=["input"],
        dynamic_axes={"input": {axis: f"free{axis}" for axis in options.get("free", [])}},
        training=torch.onnx.TrainingMode.PRESERVE if kept else torch.onnx.TrainingMode.EVAL,
    )


def partsOf(net, path):
    """For each weight the initializers that hold it, as it is or transposed; none where a norm was folded into it."""
    held = {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}
    parts = {}
    for key, value in net.named_parameters():
        own = value.detach().numpy()
        same = [{"name": name, "transposed": False} for name, one in held.items() if equal(one, own)]
        turned = [
            {"name": name, "transposed": True}
            for name, one in held.items()
            if one.ndim == 2 and equal(one.T, own) and not equal(one, own)
        ]
        named = key in held and equal(held[key], own) and not turned
        parts[key] = [{"name": key, "transposed": False}] if named else same + turned
    return parts


def equal(a, b):
    return a.shape == b.shape and (a == b).all()


def spread(net):
    """Gains, offsets and running statistics that are not ones and zeros, and no two weights the same: the
    exporter would write those once."""
    with torch.no_grad():
        for value in [*net.parameters(), *net.buffers()]:
            if value.is_floating_point():
                value.add_(torch.rand_like(value) * (0.3 if value.dim() == 1 else 0.01))


def lossOf(loss, y, target, axis):
    if loss == "mse":
        return F.mse_loss(y, target.double())
    scores = y.movedim(axis, -1)
    return F.cross_entropy(scores.reshape(-1, scores.shape[-1]), target.reshape(-1))


def tensor(value):
    kind = "int64" if value.dtype == torch.int64 else "float"
    return {"dtype": kind, "shape": list(value.shape), "data": value.reshape(-1).tolist()}


main()
