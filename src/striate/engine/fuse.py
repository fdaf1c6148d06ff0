"""Fuse: rewrites of a graph that compute the same with fewer passes over memory.

    conv2d, linear + activation                        the layer applies it           RULES: relu, tanh, sigmoid, relu6
    conv2d, linear + norm of fixed statistics          folded into the weights        scale_shift (inference only)
    batch norm [+ residual] [+ relu or relu6]          one pass, norm_act             scale_shift, add, relu, relu6
    conv2d + residual [+ activation]                   the layer adds it              add
    conv2d [+ relu] + 2x2 max-pool                     only the pooled map is kept    max_pool2d
    conv2d + the batch statistics of its result        conv2d_moments                 batch_moments

The nodes are walked in order. Each becomes a piece, and a rule may let it take in the piece that made its input; what
both give together takes the place of the later one. A value that is watched, or used twice, is not fused away.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from striate.graph import Graph, Params, State, Value, find_op
from striate.kernels.contract import HALVING
from striate.ops.conv import ACTIVATIONS

NORMS = {"conv2d": "conv2d_norm", "linear": "linear_norm"}
POOLS = {"conv2d": "conv2d_max_pool", "conv2d_norm": "conv2d_max_pool_norm"}
ADDS = ("conv2d", "conv2d_norm", "norm_act")  # take a residual as their last input
RELU, RELU6 = ACTIVATIONS.index("relu"), ACTIVATIONS.index("relu6")
APPLY = {"norm_act": (RELU, RELU6), **dict.fromkeys(POOLS.values(), (RELU,))}  # what these apply; all others apply any


@dataclass(eq=False)
class Piece:
    """A node to be: one or several nodes of the graph."""

    name: str
    inputs: tuple[Value | None, ...]
    params: Params
    outputs: tuple[Value, ...]
    path: str

    @property
    def residual_at(self) -> int:
        """The position of the residual among the inputs: the last one."""
        return find_op(self.name).optional[-1]

    @property
    def plain(self) -> bool:
        """Whether nothing stands behind its sum yet: no residual, no activation."""
        full = self.name in ADDS and len(self.inputs) > self.residual_at
        return self.params.get("activation") == 0 and not full


@dataclass
class Pieces:
    """The pieces so far, and what may be taken in."""

    training: bool
    kept: Collection[Value]
    users: Counter[Value]
    order: list[Piece] = field(default_factory=list)
    maker: dict[Value, Piece] = field(default_factory=dict)

    def add(self, piece: Piece) -> None:
        for rule in RULES.get(piece.name, ()):
            merged = rule(self, piece)
            if merged is not None:
                piece = merged
        self.order.append(piece)
        self.maker.update((v, piece) for v in piece.outputs)

    def only(self, value: Value | None) -> Piece | None:
        """The piece whose one output is `value`, if nobody else wants it."""
        piece = self.maker.get(value) if value is not None else None
        alone = value not in self.kept and self.users[value] == 1 if value is not None else False
        return piece if piece is not None and alone and len(piece.outputs) == 1 else None

    def take(self, taken: Piece, by: Piece, name: str, inputs: tuple[Value | None, ...], **params: object) -> Piece:
        """`taken` and `by` as one piece that gives what `by` gives."""
        self.order.remove(taken)
        return Piece(name, inputs, {**taken.params, **params}, by.outputs, taken.path)


def fuse(graph: Graph, keep: Collection[Value] = ()) -> Graph:
    """`graph` with chains of operations as single nodes; the values in `keep` stay values."""
    kept = {*keep, *graph.outputs.values(), *(v for _, v in graph.updates)}
    users = Counter(v for node in graph.nodes for v in node.inputs if v is not None)
    pieces = Pieces(graph.training, kept, users)
    for node in graph.nodes:
        pieces.add(Piece(node.op.name, node.inputs, node.params, node.outputs, node.path))
    return _built(graph, pieces.order)


def _built(graph: Graph, pieces: list[Piece]) -> Graph:
    new, at = Graph(graph.training, nest=graph.nest), dict[Value, Value]()

    def moved(value: Value) -> Value:
        if value not in at:
            at[value] = new.value_of(value.source)
        return at[value]

    for v in graph.inputs:
        at[v] = new.add_input(v.name, v.spec, v.batched)
        at[v].limit = v.limit
    for piece in pieces:
        with new.scope(piece.path, piece.name):
            inputs = [None if v is None else moved(v) for v in piece.inputs]
            outputs = new.apply(find_op(piece.name), inputs, piece.params)
        at.update(zip(piece.outputs, outputs, strict=True))
    new.outputs = {name: moved(v) for name, v in graph.outputs.items()}
    new.updates = [(state, moved(v)) for state, v in graph.updates]
    return new


# ---- the rules: what `piece` and the maker of its input are together, or None

def _activate(pieces: Pieces, piece: Piece) -> Piece | None:
    layer, code = pieces.only(piece.inputs[0]), ACTIVATIONS.index(piece.name)
    if layer is None or layer.params.get("activation") != 0 or code not in APPLY.get(layer.name, (code,)):
        return None
    return pieces.take(layer, piece, layer.name, layer.inputs, activation=code)


def _fold(pieces: Pieces, piece: Piece) -> Piece | None:
    """Fixed statistics behind a layer, in inference."""
    layer = pieces.only(piece.inputs[0])
    if layer is None or pieces.training or layer.name not in NORMS or not layer.plain:
        return None
    if not all(v is None or isinstance(v.source, State) for v in (*piece.inputs[1:], *layer.inputs[1:3])):
        return None
    inputs = (*layer.inputs[:3], *piece.inputs[1:])
    return pieces.take(layer, piece, NORMS[layer.name], inputs, eps=piece.params["eps"])


def _normalise(pieces: Pieces, piece: Piece) -> Piece | None:
    """Batch norm as one operation, if its statistics are fixed or its input's own."""
    if piece.name != "scale_shift":
        return None  # it was folded
    x, mean, var = piece.inputs[:3]
    moments = pieces.maker.get(mean) if mean is not None else None
    own = moments is not None and moments.name in ("batch_moments", "conv2d_moments") and (
        x is (moments.inputs[0] if moments.name == "batch_moments" else moments.outputs[0])
    ) and (mean, var) == moments.outputs[-3:-1]
    fixed = all(v is not None and isinstance(v.source, State) and not v.source.trainable for v in (mean, var))
    if not own and not fixed:
        return None
    return replace(piece, name="norm_act", params={**piece.params, "activation": 0, "own": int(own)})


def _residual(pieces: Pieces, piece: Piece) -> Piece | None:
    """The later of the two terms takes in the other one."""
    a, b = piece.inputs
    if a is None or b is None or a.shape != b.shape:
        return None
    found = [(pieces.order.index(p), p, r) for p, r in ((pieces.only(a), b), (pieces.only(b), a))
             if p is not None and p.name in ADDS and p.plain]
    if not found:
        return None
    _, layer, r = max(found, key=lambda f: f[0])
    return pieces.take(layer, piece, layer.name, (*layer.inputs, r))


def _pool(pieces: Pieces, piece: Piece) -> Piece | None:
    layer = pieces.only(piece.inputs[0])
    if layer is None or layer.name not in POOLS or layer.params["activation"] not in (0, RELU):
        return None
    even = not any(size % 2 for size in layer.outputs[0].shape[2:])
    halves = all(piece.params[name] == value for name, value in HALVING.items() if name != "ceil" or not even)
    if not halves or len(layer.inputs) > layer.residual_at:
        return None
    return pieces.take(layer, piece, POOLS[layer.name], layer.inputs)


def _moments(pieces: Pieces, piece: Piece) -> Piece | None:
    """The convolution in front gives the statistics too; its result stays a value."""
    (x,) = piece.inputs
    layer = pieces.maker.get(x) if x is not None else None
    if layer is None or x is None or layer.name != "conv2d" or not layer.plain:
        return None
    if any(x in other.inputs for other in pieces.order):
        return None  # somebody between them needs the result
    pieces.order.remove(layer)
    params = {name: value for name, value in layer.params.items() if name != "activation"}
    return Piece("conv2d_moments", layer.inputs, params, (x, *piece.outputs), layer.path)


Rule = Callable[[Pieces, Piece], Piece | None]
RULES: dict[str, tuple[Rule, ...]] = {
    **dict.fromkeys(ACTIVATIONS[1:], (_activate,)), "scale_shift": (_fold, _normalise), "add": (_residual,),
    "max_pool2d": (_pool,), "batch_moments": (_moments,),
}
