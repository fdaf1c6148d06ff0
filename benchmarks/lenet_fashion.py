"""LeNet-5 on Fashion-MNIST: striate beside PyTorch, the same weights, batches, optimiser and schedule, in one process.

    python benchmarks/lenet_fashion.py [--epochs 15] [--seeds 3] [--data fashion-mnist] [--json FILE]

Epochs alternate between the engines. PyTorch is fed from tensors in memory, in both memory
layouts; its better one counts.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import combinations
from typing import Any

import machine
import numpy as np
import torch
from torch.nn import functional
from twins import twin_of

import striate as st
from striate.engine.step import TrainingStep
from striate.kernels import native
from striate.train import schedule

BATCH, LR, MOMENTUM, DECAY, WARMUP = 128, 0.05, 0.9, 5e-4, 350
Array = np.ndarray[Any, Any]


class Run:
    """One seed: the engines side by side over the same epochs."""

    def __init__(self, train: tuple[Array, Array], test: tuple[Array, Array], epochs: int, seed: int) -> None:
        self.train, self.test, self.seed = train, test, seed
        self.total = epochs * -(-len(train[0]) // BATCH)
        self.rate = schedule.cosine(warmup=WARMUP)
        net = st.create("lenet5", seed=seed)
        self.engines: dict[str, Any] = {"striate": Striate(net)}
        for layout in (torch.contiguous_format, torch.channels_last):
            self.engines[f"torch {str(layout)[6:]}"] = Torch(net, layout)

    def epoch(self, number: int) -> dict[str, tuple[float, list[float]]]:
        """Engine -> (seconds, losses) of one epoch."""
        order = np.random.default_rng((self.seed, number)).permutation(len(self.train[0]))
        batches = [order[i : i + BATCH] for i in range(0, len(order), BATCH)]
        first = number * len(batches)
        rates = [LR * self.rate(first + i, self.total) for i in range(len(batches))]
        result = {}
        for name, engine in self.engines.items():
            start = time.perf_counter()
            losses = engine.epoch(*self.train, batches, rates, first)
            result[name] = (time.perf_counter() - start, [float(x) for x in losses])
        return result

    def accuracy(self) -> dict[str, float]:
        x, labels = self.test
        return {name: float((e.predict(x) == labels).mean()) for name, e in self.engines.items()}


class Striate:
    """striate's training step and prediction."""

    def __init__(self, net: st.Module) -> None:
        self.net = net
        self.step = TrainingStep(net.programs, st.ops.cross_entropy, st.SGD(LR, momentum=MOMENTUM, weight_decay=DECAY))

    def epoch(self, x: Array, labels: Array, batches: list[Array], rates: list[float], first: int) -> list[float]:
        return [
            self.step(x[b], labels[b], lr=lr, step=first + i + 1)["loss"]
            for i, (b, lr) in enumerate(zip(batches, rates, strict=True))
        ]

    def predict(self, x: Array) -> Array:
        return np.concatenate([self.net(x[i : i + 1000]).argmax(1) for i in range(0, len(x), 1000)])


class Torch:
    """PyTorch's, in one memory layout."""

    def __init__(self, net: st.Module, layout: torch.memory_format) -> None:
        self.layout = layout
        self.net = twin_of(net).to(memory_format=layout)
        self.optimizer = torch.optim.SGD(self.net.parameters(), LR, momentum=MOMENTUM, weight_decay=DECAY)
        self.tensors: dict[int, torch.Tensor] = {}

    def tensor(self, array: Array) -> torch.Tensor:
        if id(array) not in self.tensors:
            tensor = torch.from_numpy(np.array(array))  # PyTorch warns of read-only arrays
            self.tensors[id(array)] = tensor.to(memory_format=self.layout) if tensor.ndim == 4 else tensor
        return self.tensors[id(array)]

    def epoch(self, x: Array, labels: Array, batches: list[Array], rates: list[float], first: int) -> list[Any]:
        images, targets, losses = self.tensor(x), self.tensor(labels), []
        for b, lr in zip(batches, rates, strict=True):
            index = torch.from_numpy(b)
            self.optimizer.param_groups[0]["lr"] = lr
            self.optimizer.zero_grad(set_to_none=True)
            loss = functional.cross_entropy(self.net(images[index]), targets[index])
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        return losses

    @torch.inference_mode()
    def predict(self, x: Array) -> Array:
        images = self.tensor(x)
        return np.concatenate([self.net(images[i : i + 1000]).argmax(1).numpy() for i in range(0, len(x), 1000)])


def load(name: str) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Normalised float32 images and int64 labels of both halves."""
    train, test, note = st.data.load(name)
    print(note)
    mean, std = train.images.mean() / 255, train.images.std() / 255
    scaled: Callable[[Array], Array] = lambda x: ((x.astype(np.float32) / 255 - mean) / std).astype(np.float32)  # noqa: E731
    return (scaled(train.images), train.labels), (scaled(test.images), test.labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--json")
    args = parser.parse_args()
    native.set_threads(machine.THREADS)
    torch.set_num_threads(machine.THREADS)
    torch.set_flush_denormal(True)
    machine.heading("LeNet-5 training, batch 128, SGD with momentum, cosine with warm-up")
    train, test = load(args.data)
    seconds: dict[str, list[float]] = {}
    accuracies: dict[str, list[float]] = {}
    worst: dict[str, float] = {}
    for seed in range(args.seeds):
        run = Run(train, test, args.epochs, seed)
        for number in range(args.epochs):
            rows = run.epoch(number)
            for name, (time_taken, _) in rows.items():
                seconds.setdefault(name, []).append(time_taken)
            if number == 0:
                worst = {pair: max(worst.get(pair, 0.0), value) for pair, value in differences(rows).items()}
            print(f"seed {seed} epoch {number + 1}: " + ", ".join(f"{n} {t:.2f} s" for n, (t, _) in rows.items()))
        for name, value in run.accuracy().items():
            accuracies.setdefault(name, []).append(value)
        print(f"seed {seed} test accuracy: " + ", ".join(f"{n} {a[-1]:.4f}" for n, a in accuracies.items()))
    conclude(seconds, accuracies, worst, args.json)


def differences(rows: dict[str, tuple[float, list[float]]]) -> dict[str, float]:
    """Pair of engines -> the largest relative difference of their first 50 losses."""
    losses = {name: np.array(row[1][:50]) for name, row in rows.items()}
    return {f"{a} and {b}": float(np.abs(losses[a] / losses[b] - 1).max()) for a, b in combinations(losses, 2)}


def conclude(seconds: dict[str, list[float]], accuracies: dict[str, list[float]], worst: dict[str, float],
             path: str | None) -> None:
    """Prints and writes what the issue of speed and equality came to."""
    for name, values in seconds.items():
        mean = statistics.mean(accuracies[name])
        print(f"{name:24s} {machine.spread(values, 's')} an epoch, mean test accuracy {mean:.4f}")
    best = min((n for n in seconds if n != "striate"), key=lambda n: statistics.median(seconds[n]))
    ratios = [theirs / ours for ours, theirs in zip(seconds["striate"], seconds[best], strict=True)]
    for pair, value in worst.items():
        print(f"largest relative difference of the first 50 losses, {pair}: {value:.1e}")
    print(f"striate is {machine.spread(ratios, 'x')} as fast as {best}")
    machine.report({
        "seconds": seconds, "accuracies": accuracies, "loss_difference": worst, "against": best,
        "ratio": statistics.median(ratios),
    }, path)


if __name__ == "__main__":
    main()
