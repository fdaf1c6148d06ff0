"""`striate latency NET`: the ms that a network will take here, before it runs."""

from __future__ import annotations

from dataclasses import replace

from striate.account.latency import predict
from striate.cli.network import open_network
from striate.cli.output import Batch, Input, Json, Net, Precision, Threads, Training, show_json
from striate.cli.summary import shape_of
from striate.kernels import native


def latency(
    net: Net,
    batch: Batch = 1,
    training: Training = False,
    input: Input = None,
    threads: Threads = None,
    precision: Precision = "default",
    json: Json = False,
) -> None:
    """The time of each layer and of the whole, predicted from this machine's calibration, with an interval.

    Example: striate latency resnet50 --batch 8

    Example: striate latency lenet5 --batch 128 --training
    """
    native.set_threads(threads)
    native.set_precision(precision)
    found = open_network(net, drawn=False)
    shape = shape_of("latency", found, input)
    result = replace(predict(found.net, shape, batch, training=training), name=found.name)
    if json:
        show_json(result.as_dict())
    else:
        print(result)
