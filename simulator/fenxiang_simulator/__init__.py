"""A Fenxiang CRM (纷享销客) and its targets to run against with no account.

::

    from fenxiang_simulator import Simulator

    with Simulator(seed=7, records={"AccountObj": 5000}) as simulator:
        print(simulator.url)
"""

from __future__ import annotations

from fenxiang_simulator.envelope import ApiError
from fenxiang_simulator.faults import FAULTS
from fenxiang_simulator.knobs import Knobs
from fenxiang_simulator.simulator import Simulator

__all__ = ["FAULTS", "ApiError", "Knobs", "Simulator"]
