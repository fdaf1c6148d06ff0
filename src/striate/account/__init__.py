"""What a network costs: read off its graph before anything runs, and measured call by call.

The room itself is the function that is asked most: `striate.account(net, (3, 224, 224))` is `striate.account.account`.
"""

import sys
from types import ModuleType
from typing import Any

from striate.account.audit import TABLES, Audit, Finding, audit
from striate.account.conventions import CONVENTIONS, Convention
from striate.account.cost import Account, Row, Total, account
from striate.account.explain import Explanation, Line, explain
from striate.account.memory import Peaks, largest_batch, peak_bytes, peaks, plan_of

summary = account

__all__ = [
    "CONVENTIONS", "TABLES", "Account", "Audit", "Convention", "Explanation", "Finding", "Line", "Peaks", "Row",
    "Total", "account", "audit", "explain", "largest_batch", "peak_bytes", "peaks", "plan_of", "summary",
]


class _Room(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Account:
        return account(*args, **options)


sys.modules[__name__].__class__ = _Room
