"""Trains a network of `cargo xtask bench-train` in PyTorch, one step for each line on standard input.

Usage: peer.py FOLDER nchw|nhwc THREADS, with FOLDER/network.json and the f32 files it names.
"""

import json
import pathlib
import sys
import time

import torch
from torch.nn import functional


class Node(torch.nn.Module):
    """One node of the graph. Activations overwrite their input where nothing else reads it."""

    def __init__(self, kind, settings, channels, inputs, overwrites):
        super().__init__()
        self.kind, self.settings, self.overwrites = kind, settings, overwrites
        if kind == "conv2d":
            pad = settings["padding"]
            self.symmetric = len(set(pad.values())) == 1
            self.conv = torch.nn.Conv2d(
                inputs[0], channels, settings["kernel"], settings["stride"],
                pad["top"] if self.symmetric else 0, groups=settings["groups"], bias=settings["bias"])
        elif kind == "batch_norm":
            self.norm = torch.nn.BatchNorm2d(channels, settings["epsilon"], 1 - settings["momentum"])
        elif kind == "max_pool":
            pad = settings["padding"]
            assert len(set(pad.values())) == 1, "PyTorch pads all sides alike"
            self.pool = torch.nn.MaxPool2d(settings["kernel"], settings["stride"], pad["top"])

    def forward(self, *maps):
        x = maps[0]
        if self.kind == "conv2d":
            if not self.symmetric:
                pad = self.settings["padding"]
                x = functional.pad(x, (pad["left"], pad["right"], pad["top"], pad["bottom"]))
            return self.conv(x)
        if self.kind == "batch_norm":
            return self.norm(x)
        if self.kind == "activation":
            function = {
                "relu": lambda: functional.relu(x, inplace=self.overwrites),
                "leaky_relu": lambda: functional.leaky_relu(x, 0.1, inplace=self.overwrites),
                "mish": lambda: functional.mish(x, inplace=self.overwrites),
                "swish": lambda: functional.silu(x, inplace=self.overwrites),
                "sigmoid": lambda: torch.sigmoid(x),
            }
            return function[self.settings]()
        if self.kind == "max_pool":
            return self.pool(x)
        if self.kind == "upsample":
            return functional.interpolate(x, scale_factor=self.settings["factor"], mode="nearest")
        if self.kind == "concat":
            return torch.cat(maps, 1)
        if self.kind == "add":
            return maps[0] + maps[1]
        if self.kind == "channel_slice":
            return x[:, self.settings["start"]:self.settings["start"] + self.settings["len"]]
        raise ValueError(self.kind)


class Network(torch.nn.Module):
    """The graph, node by node; a map is let go after its last reader."""

    def __init__(self, nodes, heads):
        super().__init__()
        readers = [[reader for reader, node in enumerate(nodes) if index in node["inputs"]]
                   for index in range(len(nodes))]
        self.heads = heads
        self.inputs = [node["inputs"] for node in nodes]
        self.dropped = [[i for i in set(node["inputs"]) if readers[i][-1] == index and i not in heads]
                        for index, node in enumerate(nodes)]
        self.nodes = torch.nn.ModuleList()
        for node in nodes:
            kind, settings = next(iter(node["op"].items())) if isinstance(node["op"], dict) else (node["op"], {})
            # Batch norms, convolutions and sums need no output of theirs to go backwards.
            before = nodes[node["inputs"][0]]["op"] if node["inputs"] else None
            overwrites = (kind == "activation" and len(readers[node["inputs"][0]]) == 1
                          and (before == "add" or "batch_norm" in before or "conv2d" in before))
            channels = [nodes[i]["channels"] for i in node["inputs"]]
            self.nodes.append(Node(kind, settings, node["channels"], channels, overwrites))

    def forward(self, images):
        maps = [images] + [None] * (len(self.inputs) - 1)
        for index in range(1, len(self.inputs)):
            maps[index] = self.nodes[index](*[maps[i] for i in self.inputs[index]])
            for i in self.dropped[index]:
                maps[i] = None
        return [maps[head] for head in self.heads]


def parameter(node, kind):
    return {
        "kernel": lambda: node.conv.weight, "bias": lambda: node.conv.bias,
        "gamma": lambda: node.norm.weight, "beta": lambda: node.norm.bias,
        "moving_mean": lambda: node.norm.running_mean, "moving_variance": lambda: node.norm.running_var,
    }[kind]()


def main():
    folder, layout, threads = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    torch.set_num_threads(threads)
    described = json.loads((folder / "network.json").read_text())
    nodes = described["graph"]
    network = Network(nodes, described["heads"])
    by_name = {node["name"]: network.nodes[index] for index, node in enumerate(nodes)}
    values = torch.from_file(str(folder / "params.f32"), size=described["values"])
    at = 0
    with torch.no_grad():
        for spec in described["params"]:
            name, kind = spec["name"].rsplit("/", 1)
            target = parameter(by_name[name], kind)
            count = target.numel()
            target.copy_(values[at:at + count].view(spec["shape"]))
            at += count
    assert at == described["values"]
    shape = described["images"]
    count = shape[0] * shape[1] * shape[2] * shape[3]
    images = torch.from_file(str(folder / "images.f32"), size=count).view(shape).clone()
    if layout == "nhwc":
        network = network.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=described["learning_rate"], eps=1e-7, fused=True)
    print(json.dumps({"version": torch.__version__}), flush=True)

    for line in sys.stdin:
        if line.strip() != "step":
            break
        start = time.perf_counter()
        heads = network(images)
        loss = sum(head.square().mean() for head in heads)
        forward = time.perf_counter()
        loss.backward()
        backward = time.perf_counter()
        value = loss.item()
        del heads, loss
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        end = time.perf_counter()
        print(json.dumps({
            "forward": 1e3 * (forward - start), "backward": 1e3 * (backward - forward),
            "optimizer": 1e3 * (end - backward), "loss": value,
        }), flush=True)


main()
