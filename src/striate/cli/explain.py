"""`striate explain NET`: where the time goes, layer by layer, and why."""

from __future__ import annotations

from dataclasses import replace

from striate import account
from striate.cli.network import open_network
from striate.cli.output import Batch, Input, Json, Net, Precision, Threads, Training, Tune, say, show_json
from striate.cli.summary import shape_of
from striate.kernels import native


def explain(
    net: Net,
    batch: Batch = 1,
    training: Training = False,
    input: Input = None,
    threads: Threads = None,
    precision: Precision = "default",
    tune: Tune = False,
    json: Json = False,
) -> None:
    """For each layer the algorithm, why it was chosen, its speed, and what holds it back.

    Example: striate explain resnet50 --batch 8

    Example: striate explain lenet5 --batch 128 --training
    """
    native.set_threads(threads)
    native.set_precision(precision)
    found = open_network(net)
    shape = shape_of("explain", found, input)
    say("measuring ...")
    result = replace(account.explain(found.net, shape, batch, training=training, tune=tune), name=found.name)
    if json:
        show_json(result.as_dict())
    else:
        print(result)
