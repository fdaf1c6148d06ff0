"""What every kernel and operation should give, by loops, closed forms and differences: never by the code under test.

A kernel's function has the arguments of its row of the contract; float64 (or int64) in and out. An operation's has
those of striate.ops.
"""

from expected import elementwise, linear, loss, norm, optim, shape, windows, winograd

FAMILIES = (windows, linear, winograd, norm, elementwise, loss, shape, optim)


def kernel(name):
    """The expected-value function of the kernel `name`."""
    return next(getattr(family, name) for family in FAMILIES if hasattr(family, name))
