"""YOLOv4 of NVIDIA TAO in PyTorch, to check oxidet's training against: networks, target encoder, loss, optimiser, schedule.

    python train_yolov4.py FOLDER [--double]

Written from the description of the original, not from oxidet's code. FOLDER has
- case.json: what to train, as `cargo xtask follow-peer` writes it from a spec;
- params.f32: the initial parameters, in the order of the case's `params`; kernels are [out, in, height, width];
- images_000.f32, images_001.f32 …: the preprocessed images of each batch, [N, C, H, W]. Their objects are in case.json as
  [class, [x1, y1, x2, y2]] in fractions of the image.

Prints a line of JSON for each batch: the loss, its terms and the learning rate. Then writes after.f32, all parameters and running
statistics in the order they came in. What oxidet does otherwise on purpose (docs/differences.md) is done here as well: SPP pads its
pools with -inf, cross entropy is computed from logits, targets follow the encoder of the original's loader for label folders, and
objects without a row still make predictions neutral.
"""

import argparse
import json
import math
import pathlib
import sys

import numpy as np
import torch
import torch.nn.functional as F

EPSILON = 1e-18  # of divisions in the loss
CAP = 8.0  # of the logits of height and width


# ---------------------------------------------------------------------------------------------------------------- network


class Network:
    """A network as a function: every layer takes its parameters by the name it has in the original."""

    def __init__(self, case, params):
        self.arch = case["arch"]
        self.params = params
        self.used = set()
        mish = F.mish if case["activation"] == "mish" else F.relu if case["activation"] == "relu" else leaky
        self.backbone_act = F.relu if case["force_relu"] else mish
        self.neck_act = F.relu if case["force_relu"] else leaky
        self.outputs = [len(anchors) * (5 + case["classes"]) for anchors in case["anchors"]]

    def param(self, name, *shape):
        self.used.add(name)
        assert self.params[name].shape == shape, f"{name}: {tuple(self.params[name].shape)}, not {shape}"
        return self.params[name]

    def conv(self, name, x, k, filters, stride=1):
        kernel = self.param(f"{name}/kernel", filters, x.shape[1], k, k)
        return F.conv2d(x, kernel, stride=stride, padding=k // 2)

    def norm(self, name, x):
        gamma, beta, mean, variance = (
            self.param(f"{name}/{part}", x.shape[1]) for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return F.batch_norm(x, mean, variance, gamma, beta, training=True, momentum=0.01, eps=1e-3)

    def back(self, name, x, k, filters, stride=1):
        """A unit of a CSPDarkNet."""
        return self.backbone_act(self.norm(f"{name}_bn", self.conv(name, x, k, filters, stride)))

    def neck(self, name, x, k, filters, stride=1):
        """A unit of the neck."""
        return self.neck_act(self.norm(f"{name}_bn", self.conv(name, x, k, filters, stride)))

    def head(self, name, x, filters):
        return self.conv(name, x, 1, filters) + self.param(f"{name}/bias", filters)[:, None, None]

    def __call__(self, images):
        """The raw maps of the heads, largest stride first."""
        if self.arch.startswith("resnet"):
            features = self.resnet(images, {"resnet10": [1, 1, 1, 1], "resnet18": [2, 2, 2, 2], "resnet34": [3, 4, 6, 3]}[self.arch])
            top = self.neck("yolo_expand_conv1", self.spp(features[-1]), 3, 512, 2)
            branches = self.pan([top, features[2], features[1]], 128, 64)
        elif self.arch.startswith("cspdarknet_tiny"):
            branches = self.tiny_fcn(*self.csp_tiny(images), three=self.arch.endswith("_3l"))
        else:
            sys.exit(f"the peer does not know {self.arch}")
        names = ["conv_big_object", "conv_mid_object", "conv_sm_object"]
        maps = [self.head(*head) for head in zip(names, branches, self.outputs, strict=False)]
        assert self.used == self.params.keys(), f"parameters without a layer: {self.params.keys() - self.used}"
        return maps

    def resnet(self, x, repeats):
        x = F.relu(self.norm("bn_conv1", self.conv("conv1", x, 7, 64, 2)))
        features = []
        for stage, (units, width, stride) in enumerate(zip(repeats, [64, 128, 256, 512], [2, 2, 2, 1]), 1):
            for unit in range(units):
                name, step = f"block_{stage}{chr(ord('a') + unit)}", stride if unit == 0 else 1
                y = F.relu(self.norm(f"{name}_bn_1", self.conv(f"{name}_conv_1", x, 3, width, step)))
                y = self.norm(f"{name}_bn_2", self.conv(f"{name}_conv_2", y, 3, width))
                shortcut = self.norm(f"{name}_bn_shortcut", self.conv(f"{name}_conv_shortcut", x, 1, width, step))
                x = F.relu(y + shortcut)
            features.append(x)
        return features

    def csp_tiny(self, x):
        x = self.back("conv_1", self.back("conv_0", x, 3, 32, 2), 3, 64, 2)
        taps = []
        for name, c in [("conv_2", 64), ("conv_3", 128), ("conv_4", 256)]:
            route = self.back(f"{name}_conv_0", x, 3, c)
            first = self.back(f"{name}_conv_1", route[:, c // 2 :], 3, c // 2)
            second = self.back(f"{name}_conv_2", first, 3, c // 2)
            tap = self.back(f"{name}_conv_3", torch.cat([second, first], 1), 1, c)
            x = F.max_pool2d(torch.cat([route, tap], 1), 2)
            taps.append(tap)
        return self.back("conv_5", x, 3, 512), taps[2], taps[1]

    def tiny_fcn(self, f0, f1, f2, three):
        x = self.neck("yolo_conv1_1", f0, 1, 256)
        branches = [self.neck("yolo_conv1_6", x, 3, 512)]
        up = F.interpolate(self.neck("yolo_conv2", x, 1, 128), scale_factor=2)
        branches.append(self.neck("yolo_conv3_6", torch.cat([up, f1], 1), 3, 256))
        if three:
            up = F.interpolate(self.neck("yolo_conv4", branches[-1], 1, 64), scale_factor=2)
            branches.append(self.neck("yolo_conv5_6", torch.cat([up, f2], 1), 3, 128))
        return branches

    def spp(self, x):
        for name, k, filters in [("yolo_neck_1", 1, 512), ("yolo_neck_2", 3, 1024), ("yolo_neck_3", 1, 512)]:
            x = self.neck(name, x, k, filters)
        pools = [F.max_pool2d(x, k, stride=1, padding=k // 2) for k in (5, 9, 13)]
        return self.neck("yolo_spp_conv", torch.cat([*pools, x], 1), 1, 512)

    def chain(self, x, names, narrow):
        """Convolutions k1 `narrow` and k3 2 · `narrow` in turn."""
        for i, name in enumerate(names):
            x = self.neck(name, x, *((1, narrow) if i % 2 == 0 else (3, 2 * narrow)))
        return x

    def pan(self, features, c0, c1):
        f0, f1, f2 = features
        x1 = self.neck("yolo_conv1_3", self.neck("yolo_conv1_2", f0, 3, 4 * c0), 1, 2 * c0)
        x3 = self.neck("yolo_conv2", x1, 1, c0)
        x6 = torch.cat([F.interpolate(x3, scale_factor=2), self.neck("yolo_x_branch", f1, 1, c0)], 1)
        x11 = self.chain(x6, [f"yolo_conv3_{i}" for i in range(1, 6)], c0)
        up = F.interpolate(self.neck("yolo_conv4", x11, 1, c1), scale_factor=2)
        x15 = torch.cat([up, self.neck("yolo_x_branch_2", f2, 1, c1)], 1)
        x20 = self.chain(x15, [f"yolo_conv5_{i}" for i in range(1, 6)], c1)
        small = self.neck("yolo_conv5_6", x20, 3, 2 * c1)

        x23 = torch.cat([x11, self.neck("yolo_sm_branch_conv", x20, 3, c0, 2)], 1)
        x27 = self.chain(x23, ["yolo_conv3_5_1", "yolo_conv3_4_2", "yolo_conv3_5_1_1", "yolo_conv3_6"], c0)
        x28 = self.neck("md_leaky_conv512", x27, 1, 256)
        x29 = self.neck("md_leaky_conv512_down", x28, 3, 512, 2)
        mid = self.neck("md_leaky_conv1024", x28, 3, 512)

        x31 = torch.cat([x3, x29], 1)
        x35 = self.chain(x31, ["yolo_conv1_3_1", "yolo_conv1_4", "yolo_conv1_5", "yolo_conv1_6"], 2 * c0)
        big = self.neck("bg_leaky_conv1024", self.neck("bg_leaky_conv512", x35, 1, 512), 3, 1024)
        return [big, mid, small]


def leaky(x):
    return F.leaky_relu(x, 0.1)


# ------------------------------------------------------------------------------------------------------------ rows, boxes


class Rows:
    """Where the rows of all heads are: by head, row, column, anchor. Sizes in fractions of the image."""

    def __init__(self, case, maps):
        self.grids = [tuple(m.shape[2:]) for m in maps]
        self.anchors = [[(w / case["width"], h / case["height"]) for w, h in anchors] for anchors in case["anchors"]]
        parts = []
        for (rows, cols), anchors, extend in zip(self.grids, self.anchors, case["grid_xy_extend"]):
            y, x, a = np.meshgrid(np.arange(rows), np.arange(cols), np.arange(len(anchors)), indexing="ij")
            w, h = np.array(anchors).T
            same = np.ones(y.shape)
            columns = [y / rows, x / cols, h[a], w[a], same / rows, same / cols, (1 + extend) * same]
            parts.append(np.stack(columns, -1).reshape(-1, 7))
        self.place = torch.tensor(np.concatenate(parts), dtype=torch.get_default_dtype())

    def split(self, maps, classes):
        """Boxes [cy, cx, h, w], objectness logits and class logits of all rows."""
        rows = torch.cat([m.permute(0, 2, 3, 1).reshape(len(m), -1, 5 + classes) for m in maps], 1)
        y0, x0, ph, pw, step_y, step_x, scale = self.place.unbind(-1)
        shift = (scale - 1) / 2
        cy = y0 + (torch.sigmoid(rows[..., 0]) * scale - shift) * step_y
        cx = x0 + (torch.sigmoid(rows[..., 1]) * scale - shift) * step_x
        h = ph * torch.exp(rows[..., 2].clamp(max=CAP))
        w = pw * torch.exp(rows[..., 3].clamp(max=CAP))
        return torch.stack([cy, cx, h, w], -1), rows[..., 4], rows[..., 5:]

    def encode(self, objects, threshold):
        """Which row answers for which object of an image, as {row: index of the object}."""
        matches, best_rows = {}, set()
        for index, (_, (x1, y1, x2, y2)) in enumerate(objects):
            w, h, cx, cy = x2 - x1, y2 - y1, (x1 + x2) / 2, (y1 + y2) / 2
            found, first = [], 0  # (overlap, row) of each anchor; the first row of the head
            for (rows, cols), anchors in zip(self.grids, self.anchors):
                row = math.floor(min(max(cy * rows, 0), rows - 1e-3))
                col = math.floor(min(max(cx * cols, 0), cols - 1e-3))
                for a, (aw, ah) in enumerate(anchors):
                    common = min(w, aw) * min(h, ah)
                    overlap = common / (w * h + aw * ah - common)
                    found.append((overlap, first + (row * cols + col) * len(anchors) + a))
                first += rows * cols * len(anchors)
            for overlap, row in found:
                held = matches.get(row)
                if overlap > threshold and row not in best_rows and (held is None or overlap > held[0]):
                    matches[row] = (overlap, index)
            best = max(found, key=lambda match: match[0])
            matches[best[1]] = (best[0], index)
            best_rows.add(best[1])
        return {row: index for row, (_, index) in matches.items()}


def corners(box):
    cy, cx, h, w = box.unbind(-1)
    return cy - h / 2, cx - w / 2, cy + h / 2, cx + w / 2


def overlap(a, b):
    """IoU of boxes [cy, cx, h, w]."""
    ay1, ax1, ay2, ax2 = corners(a)
    by1, bx1, by2, bx2 = corners(b)
    height = (torch.minimum(ay2, by2) - torch.maximum(ay1, by1)).clamp(min=0)
    width = (torch.minimum(ax2, bx2) - torch.maximum(ax1, bx1)).clamp(min=0)
    inter = height * width
    return inter / (a[..., 2] * a[..., 3] + b[..., 2] * b[..., 3] - inter + EPSILON)


# ------------------------------------------------------------------------------------------------------------------- loss


def ciou_loss(target, box):
    iou = overlap(target, box)
    ty1, tx1, ty2, tx2 = corners(target)
    py1, px1, py2, px2 = corners(box)
    diagonal = (torch.maximum(ty2, py2) - torch.minimum(ty1, py1)) ** 2
    diagonal = diagonal + (torch.maximum(tx2, px2) - torch.minimum(tx1, px1)) ** 2
    distance = ((target[..., :2] - box[..., :2]) ** 2).sum(-1)
    angle = torch.atan2(target[..., 3], target[..., 2] + EPSILON) - torch.atan2(box[..., 3], box[..., 2] + EPSILON)
    v = 4 / math.pi**2 * angle**2
    alpha = v / (1 - iou + v + EPSILON)
    return 1 - iou + distance / (diagonal + EPSILON) + alpha * v


def cross_entropy(logit, target, case):
    target = target * (1 - case["label_smoothing"]) + case["label_smoothing"] / 2
    entropy = F.binary_cross_entropy_with_logits(logit, target, reduction="none")
    alpha, gamma = case["focal_alpha"], case["focal_gamma"]
    if alpha > 0 and gamma > 0:
        p = torch.sigmoid(logit)
        p_t = target * p + (1 - target) * (1 - p)
        entropy = (1 - p_t) ** gamma * (target * alpha + (1 - target) * (1 - alpha)) * entropy
    return entropy


def loss_terms(maps, objects, network, case):
    """The four terms, each a sum over rows and a mean over images."""
    rows = Rows(network, maps)
    boxes, objectness, logits = rows.split(maps, network["classes"])
    terms = dict.fromkeys(["loc", "pos", "neg", "class"], torch.zeros(()))
    for box, obj, cls, seen in zip(boxes, objectness, logits, objects):
        matches = rows.encode(seen, case["box_matching_iou"])
        negative = torch.ones(len(box), dtype=torch.bool)
        if seen:
            classes = torch.tensor([label for label, _ in seen])
            x1, y1, x2, y2 = torch.tensor([corners for _, corners in seen], dtype=box.dtype).unbind(-1)
            truths = torch.stack([(y1 + y2) / 2, (x1 + x2) / 2, y2 - y1, x2 - x1], -1)
            held, of = list(matches.keys()), list(matches.values())
            target, one_hot = truths[of], F.one_hot(classes[of], network["classes"]).to(box.dtype)
            weight = torch.tensor(case["class_weights"], dtype=box.dtype)[classes[of]]
            scale = 2 - target[:, 2] * target[:, 3]
            terms["loc"] = terms["loc"] + (weight * scale * ciou_loss(target, box[held])).sum()
            terms["pos"] = terms["pos"] + cross_entropy(obj[held], torch.ones(len(held)), case).sum()
            terms["class"] = terms["class"] + (weight[:, None] * cross_entropy(cls[held], one_hot, case)).sum()
            with torch.no_grad():
                negative = overlap(box[:, None], truths[None]).amax(1) < case["matching_neutral_box_iou"]
            negative[held] = False
        terms["neg"] = terms["neg"] + cross_entropy(obj[negative], torch.zeros(int(negative.sum())), case).sum()
    return {name: term / len(objects) for name, term in terms.items()}


# ----------------------------------------------------------------------------------------------------- optimiser, schedule


def learning_rate(schedule, p):
    low, high, start = schedule["min"], schedule["max"], schedule["soft_start"]
    if schedule["kind"] == "cosine":
        share = p / start if p < start else (1 + math.cos(math.pi * (p - start))) / 2
        return low + (high - low) * share
    end = schedule["annealing"]
    share = p / start if p < start else (1 - p) / (1 - end) if p > end else 1
    return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))


def adam(case, param, state, rate, t):
    beta1, beta2 = case["beta1"], case["beta2"]
    m, v = state.setdefault("m", torch.zeros_like(param)), state.setdefault("v", torch.zeros_like(param))
    m.mul_(beta1).add_((1 - beta1) * param.grad)
    v.mul_(beta2).add_((1 - beta2) * param.grad**2)
    if case["amsgrad"]:
        v = state["most"] = torch.maximum(state.get("most", v), v)
    rate *= math.sqrt(1 - beta2**t) / (1 - beta1**t)
    param.sub_(rate * m / (v.sqrt() + case["epsilon"]))


def sgd(case, param, state, rate, _):
    u = state.setdefault("u", torch.zeros_like(param))
    u.mul_(case["momentum"]).sub_(rate * param.grad)
    param.add_(case["momentum"] * u - rate * param.grad if case["nesterov"] else u)


# -------------------------------------------------------------------------------------------------------------------- run


def read(path, shape):
    return torch.tensor(np.fromfile(path, "<f4").reshape(shape), dtype=torch.get_default_dtype())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--double", action="store_true", help="compute in double precision")
    args = parser.parse_args()
    if args.double:
        torch.set_default_dtype(torch.float64)
    case = json.loads((args.folder / "case.json").read_text())

    lengths = [math.prod(param["shape"]) for param in case["params"]]
    values = read(args.folder / "params.f32", -1).split(lengths)
    params = {param["name"]: v.reshape(param["shape"]).clone() for param, v in zip(case["params"], values, strict=True)}
    trained = [param for name, param in params.items() if "/moving_" not in name]
    kernels = [param for name, param in params.items() if name.endswith("/kernel")]
    for param in trained:
        param.requires_grad_()
    states = [{} for _ in trained]
    network = Network(case["network"], params)
    update = {"adam": adam, "sgd": sgd}[case["optimizer"]["kind"]]
    weights = case["loss"]

    for step, batch in enumerate(case["batches"]):
        images = read(args.folder / f"images_{step:03}.f32", batch["shape"])
        terms = loss_terms(network(images), batch["objects"], case["network"], weights)
        loss = weights["loc_weight"] * terms["loc"] + terms["pos"]
        loss = loss + weights["neg_obj_weight"] * terms["neg"] + weights["class_weight"] * terms["class"]
        for kernel in kernels:
            loss = loss + case["regularizer"]["l1"] * kernel.abs().sum() + case["regularizer"]["l2"] * (kernel**2).sum()
        for param in trained:
            param.grad = None
        loss.backward()
        rate = learning_rate(case["schedule"], step / case["steps_of_the_run"])
        with torch.no_grad():
            for param, state in zip(trained, states):
                update(case["optimizer"], param, state, rate, step + 1)
        values = {name: term.item() for name, term in terms.items()}
        print(json.dumps({"loss": loss.item(), "learning_rate": rate, **values}), flush=True)

    after = torch.cat([param.detach().flatten() for param in params.values()])
    after.numpy().astype("<f4").tofile(args.folder / "after.f32")


if __name__ == "__main__":
    main()
