#!/usr/bin/env python3
"""Milliseconds of a training step in PyTorch: channels-last, scripted, one thread, minibatch 128, SGD with momentum. Of
processor time, which other programs on the core hardly change.

usage: step_pytorch.py STEPS NETWORK ...   prints "NETWORK MILLISECONDS" (the median) for each
DEVICE=cuda measures a GPU, in float32 without TF32, by the clock.
"""
import os
import sys
import time

# The C library gives large blocks back after each step and takes them again; PyTorch is faster when it does not.
if os.environ.get("MALLOC_TRIM_THRESHOLD_") is None:
    os.environ.update(MALLOC_TRIM_THRESHOLD_="4294967295", MALLOC_MMAP_THRESHOLD_="4294967295", MALLOC_TOP_PAD_="67108864",
                      OMP_NUM_THREADS="1")
    os.execv(sys.executable, [sys.executable] + sys.argv)

try:
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
except ImportError:
    print("PyTorch is not installed for", sys.executable, file=sys.stderr)
    sys.exit(3)

torch.set_num_threads(1)
BATCH, WARM = 128, 2
DEVICE = os.environ.get("DEVICE", "cpu")
torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def now():
    if DEVICE == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.more = outputs - inputs

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = F.pad(x[:, :, ::2, ::2], [0, 0, 0, 0, 0, self.more])
        return F.relu(y + x)


def resnet(depth):
    layers = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    for group, channels in enumerate((16, 32, 64)):
        for block in range((depth - 2) // 6):
            first = group > 0 and block == 0
            layers.append(Block(channels // 2 if first else channels, channels, 2 if first else 1))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def lenet5():
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, 1, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))


def alexnet():
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(64, 192, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(), nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(1024, 4096),
        nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 10))


def vgg16():
    layers, inputs = [], 3
    for channels in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        if channels == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(inputs, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        inputs = channels
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 512), nn.ReLU(), nn.Dropout(), nn.Linear(512, 512),
                         nn.ReLU(), nn.Dropout(), nn.Linear(512, 10))


def build(name):
    if name.startswith("resnet"):
        return resnet(int(name[6:]))
    return {"lenet5": lenet5, "alexnet": alexnet, "vgg16": vgg16}[name]()


def measure(name, steps):
    shape = (1, 28, 28) if name == "lenet5" else (3, 32, 32)
    model = build(name).to(DEVICE).to(memory_format=torch.channels_last)
    model = torch.jit.script(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    x = torch.randn(BATCH, *shape, device=DEVICE).to(memory_format=torch.channels_last)
    t = torch.randint(0, 10, (BATCH,), device=DEVICE)
    seconds = []
    for _ in range(steps + WARM):
        start = now()
        optimizer.zero_grad()
        F.cross_entropy(model(x), t).backward()
        optimizer.step()
        seconds.append(now() - start)
    return sorted(seconds[WARM:])[steps // 2]


for network in sys.argv[2:]:
    print(network, "%.3f" % (1e3 * measure(network, int(sys.argv[1]))), flush=True)
