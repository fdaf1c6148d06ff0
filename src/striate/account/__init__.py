"""What a network costs, read off its graph before anything runs."""

from striate.account.cost import Row, Summary, Total, summary

__all__ = ["Row", "Summary", "Total", "summary"]
