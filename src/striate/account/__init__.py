"""What a network costs: read off its graph before anything runs, and measured call by call."""

from striate.account.cost import Row, Summary, Total, summary
from striate.account.explain import Explanation, Line, explain

__all__ = ["Explanation", "Line", "Row", "Summary", "Total", "explain", "summary"]
