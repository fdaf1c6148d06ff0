"""Other people's ways of counting, so that their numbers can be told apart from ours.

Each is a table: what it counts for one operation; what is not in the table, it does not count. The rules were read in
the tools' sources and hold for images in evaluation mode.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from striate.graph import Node, elements
from striate.kernels.contract import Shape

Rule = Callable[[Node], int]


# ---- what one may count of an operation

def macs(node: Node) -> int:
    """Multiply-accumulates of the definition."""
    return node.cost().macs


def twice(node: Node) -> int:
    return 2 * macs(node)


def with_bias(node: Node) -> int:
    """Multiply-accumulates, and one operation an output for the bias."""
    return macs(node) + (_outputs(node) if _has_bias(node) else 0)


def without_the_first_addition(node: Node) -> int:
    """Of an inner product of n terms n multiplications and n - 1 additions."""
    return twice(node) - _outputs(node)


def of_outputs(times: int) -> Rule:
    return lambda node: times * _outputs(node)


def of_inputs(times: int) -> Rule:
    return lambda node: times * elements(node.input_specs()[0] or node.outputs[0].spec)


def of_windows(more: int = 0) -> Rule:
    """One operation for each element of each window, and `more` a window."""
    return lambda node: (_window(node) + more) * _outputs(node)


def of_affine(node: Node) -> int:
    """2 an element of a batch norm with trainable scale and shift, 1 without."""
    return _outputs(node) * (1 if node.inputs[3] is None else 2)


def of_weights_and_positions(node: Node) -> int:
    """Numbers of the weight and the bias, times the positions they are used at: images and pixels."""
    n, _, *pixels = node.outputs[0].spec.shape
    positions = n
    for size in pixels:
        positions *= size
    return _weights(node) * positions


def of_weights_and_images(node: Node) -> int:
    return _weights(node) * node.outputs[0].spec.shape[0]


def of_strides(node: Node) -> int:
    """2 for each input that the strides of a pooling cover."""
    stride: Shape = node.params.get("stride", (1, 1))
    return 2 * stride[0] * stride[1] * _outputs(node)


def of_softmax(node: Node) -> int:
    """An exponential, an addition and a division an element, one addition less an image."""
    return 3 * _outputs(node) - node.outputs[0].spec.shape[0]


def of_maps_and_norms(node: Node) -> int:
    """1 an element, and at every pixel 2 a channel and 2 for one norm."""
    n, c, h, w = node.outputs[0].spec.shape
    return _outputs(node) + n * h * w * (2 * c + 2)


def _outputs(node: Node) -> int:
    return elements(node.outputs[0].spec)


def _has_bias(node: Node) -> bool:
    return len(node.inputs) > 2 and node.inputs[2] is not None


def _weights(node: Node) -> int:
    """Trainable numbers among the inputs: a norm's statistics are none."""
    trained = node.inputs[3:] if node.op.name == "scale_shift" else node.inputs[1:3]
    return sum(elements(v.spec) for v in trained if v is not None)


def _window(node: Node) -> int:
    """The size of a pooling window, as large as the map for global pooling."""
    given: Shape = node.params.get("kernel", ())
    if given:
        return given[0] * given[1]
    spec = node.input_specs()[0]
    assert spec is not None
    return elements(spec) // _outputs(node)  # adaptive pooling


# ---- the conventions

@dataclass(frozen=True)
class Convention:
    """`unit` is what the number is called where it is printed; `why` says in a line how it differs from MACs.

    `head` is the head of its column here.
    """

    name: str
    unit: str
    why: str
    rules: Mapping[str, Rule]
    head: str

    def count(self, node: Node) -> int:
        """What is counted for one operation; 0 for those it does not look at."""
        rule = self.rules.get(node.op.name)
        return 0 if rule is None else rule(node)


def _each(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


PRODUCTS = "conv2d linear"
POOLS = "max_pool2d avg_pool2d lp_pool2d adaptive_avg_pool2d"
MEANS = "avg_pool2d adaptive_avg_pool2d"
ACTIVATIONS = "relu leaky_relu gelu"
CONVENTIONS: dict[str, Convention] = {}


def _enter(name: str, unit: str, rules: dict[str, Rule], why: str, head: str = "") -> None:
    CONVENTIONS[name] = Convention(name, unit, why, MappingProxyType(rules), head or f"{name} {unit}")


_enter("striate", "MACs", _each(f"{PRODUCTS} rbf", macs),
       "multiply-accumulates of every product of the definition; FLOPs are twice as many", "MACs")
_enter("torchvision", "GFLOPS", _each(PRODUCTS, macs),
       "its GFLOPS are 10^9 multiply-accumulates of convolutions and linear layers, one each")
_enter("fvcore", "flops",
       _each(PRODUCTS, macs) | {"scale_shift": of_affine, "adaptive_avg_pool2d": of_inputs(1)},
       "a multiply-accumulate is one flop; batch norm counts 2 an element, adaptive pooling 1 an element it reads; no "
       "bias, no activation, no other pooling")
_enter("thop", "MACs",
       {"conv2d": with_bias, "linear": without_the_first_addition, "scale_shift": of_outputs(4)}
       | _each(MEANS, of_windows(1)),
       "as the table of its README was made in 2019: bias 1 an output, linear layers 2 a multiply-accumulate, batch "
       "norm 4 an element, average pooling window + 1 an output")
_enter("thop_2022", "MACs",
       _each(PRODUCTS, macs) | _each(MEANS, of_windows(1)) | {"scale_shift": of_outputs(4), "softmax": of_softmax},
       "as its last release counts: no bias, linear layers once, batch norm 4 an element, softmax 3")
_enter("ptflops", "MACs",
       _each(PRODUCTS, with_bias) | {"scale_shift": of_affine, "relu6": of_inputs(1)}
       | _each(ACTIVATIONS, of_inputs(2)) | _each(POOLS, of_inputs(2)),
       "as the first column of its README: bias 1 an output, batch norm 2 an element; relu and pooling 2 an element "
       "they read, because it sees the layer and again the function that the layer calls")
_enter("ptflops_aten", "MACs", _each(PRODUCTS, with_bias),
       "as the second column of its README, its default today: convolutions and linear layers with their biases")
_enter("torchinfo", "mult-adds",
       {"conv2d": of_weights_and_positions} | _each("linear scale_shift", of_weights_and_images),
       "weights and biases times the positions they are used at; of a batch norm its weights once an image")
_enter("paper", "FLOPs", _each(PRODUCTS, macs),
       "the FLOPs of ResNet's paper and its successors are multiply-accumulates of convolutions and linear layers")
_enter("connections", "connections",
       _each(PRODUCTS, with_bias) | _each(POOLS, of_windows()) | {"rbf": macs, "add": of_outputs(1)},
       "as LeCun et al. 1998 count LeNet-5: a unit's inputs and its bias one each, its coefficient not",
       "connections")
_enter("canziani", "operations", _each(PRODUCTS, twice),
       "a multiplication and an addition are two operations: G-Ops = 2 x GMACs, drawn in a figure read to about 1 G-Op")
_enter("convnet_burden", "FLOPs",
       _each(PRODUCTS, with_bias) | _each(POOLS, of_strides)
       | {"relu": of_outputs(2), "add": of_outputs(1), "local_response_norm": of_maps_and_norms},
       "a multiply-accumulate is one FLOP; bias 1 an output, relu 2 an element, pooling 2 for each input its strides "
       "cover, batch norm merged away")
