from __future__ import annotations

import pytest

from fenxiang_sync.errors import DeclarationError
from fenxiang_sync.targets.hub import HubTarget
from fenxiang_sync.targets.protocol import Delivery, Target
from tests.targets_fixtures import deliveries, rows, stand


def test_every_row_counts_as_delivered_and_nothing_is_sent() -> None:
    with stand() as simulated:
        answers = simulated.send(HubTarget(), rows(3))
        assert deliveries(answers) == [Delivery.DELIVERED] * 3
        assert simulated.targets.report()["qeasy"]["requests"] == {}
        assert simulated.targets.report()["write"]["requests"] == 0


def test_it_is_a_target_that_needs_no_connection() -> None:
    target = HubTarget()
    assert isinstance(target, Target)
    assert list(target.connections) == []


def test_a_batch_without_rows_is_a_declaration_error() -> None:
    with pytest.raises(DeclarationError, match="batch_rows=0"):
        HubTarget(batch_rows=0)
