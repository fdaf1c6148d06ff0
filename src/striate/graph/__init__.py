"""The nouns of the engine: Value, Op, Node, State and Graph. This room knows no operation by name."""

from striate.graph.graph import Graph, Node
from striate.graph.op import OPS, Cost, Op, Params, elements, find_op
from striate.graph.state import Array, Edits, State
from striate.graph.table import sizes, table
from striate.graph.value import BatchSize, Value

__all__ = [
    "OPS", "Array", "BatchSize", "Cost", "Edits", "Graph", "Node", "Op", "Params", "State", "Value", "elements",
    "find_op", "sizes", "table",
]
