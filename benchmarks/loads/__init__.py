"""The loads of `make bench`, one module each. A load is a function `run(options, say) -> Report`."""

from collections.abc import Callable

from benchmarks.figures import Report
from benchmarks.loads import accept, alone, backlog, brownout, cost, drain, growth
from benchmarks.options import Options

Run = Callable[[Options, Callable[[str], None]], Report]

LOADS: dict[str, Run] = {
    module.NAME: module.run for module in (accept, drain, brownout, backlog, cost, growth, alone)
}  # fmt: skip
"""By name, in the order of a whole run."""
