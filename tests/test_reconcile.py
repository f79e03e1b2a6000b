"""How a reconcile and a delete policy are declared, and what cannot be meant."""

from __future__ import annotations

import dataclasses
import doctest
from datetime import timedelta
from typing import Any

import pytest

from fenxiang_sync import DeletePolicy, Field, HubTarget, Pipeline, QeasyStore, Reconcile, Source, WriteApi, reconcile
from fenxiang_sync import rows as rows_module
from fenxiang_sync.errors import DeclarationError


def declared(**words: Any) -> Pipeline:
    given = {"name": "account", "source": Source(object="AccountObj"), "fields": [Field("_id")], "target": HubTarget()}
    return Pipeline(**given | words)


def test_the_examples_in_the_docstrings_are_true() -> None:
    assert doctest.testmod(reconcile).failed == doctest.testmod(rows_module).failed == 0


def test_a_pipeline_is_reconciled_daily_and_swept_weekly_unless_it_says_otherwise() -> None:
    rules = declared().reconcile
    assert rules == Reconcile()
    assert (Reconcile().schedule, Reconcile().sweep_every, Reconcile().deep) == ("30 3 * * *", timedelta(days=7), False)
    assert declared(reconcile=None).reconcile is None
    with pytest.raises(dataclasses.FrozenInstanceError):
        Reconcile().deep = True  # type: ignore[misc]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"schedule": "daily"}, "schedule='daily' is no cron expression"),
        ({"sweep_every": 7}, "sweep_every=7: give a timedelta, as in timedelta(days=7)"),
        ({"sweep_every": timedelta(0)}, "sweep_every=0 min: give how long"),
        ({"deep": "yes"}, "deep='yes': give True or False"),
        ({"most_vanished": -1}, "most_vanished=-1: give a number of records"),
        ({"most_vanished": 1.5}, "most_vanished=1.5: give a number of records"),
        ({"most_share": 5}, "most_share=5: give a share from 0 to 1"),
        ({"most_share": True}, "most_share=True: give a share from 0 to 1"),
    ],
)
def test_what_cannot_be_meant_is_said_with_the_value_and_a_way_out(words: dict[str, Any], says: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        declared(reconcile=Reconcile(**words))
    assert f"pipeline 'account': reconcile: {says}" in str(caught.value)


def test_a_misspelt_word_is_answered_with_the_right_one() -> None:
    with pytest.raises(DeclarationError, match="Reconcile has no 'shedule'; did you mean 'schedule'"):
        Reconcile(shedule=None)  # type: ignore[call-arg]
    with pytest.raises(DeclarationError, match="reconcile=True: give Reconcile"):
        declared(reconcile=True)


@pytest.mark.parametrize(
    ("target", "policy"),
    [
        (HubTarget(), DeletePolicy.FLAG),
        (QeasyStore(scheme="s"), DeletePolicy.IGNORE),
        (WriteApi(), DeletePolicy.IGNORE),
    ],
    ids=lambda each: type(each).__name__,
)
def test_by_default_rows_are_flagged_where_the_target_can_and_else_left(target: Any, policy: DeletePolicy) -> None:
    assert declared(target=target).removes is policy


def test_a_policy_that_the_target_cannot_carry_out_is_refused() -> None:
    for policy in DeletePolicy:
        assert declared(delete_policy=policy).removes is policy
    with pytest.raises(DeclarationError) as caught:
        declared(target=WriteApi(), delete_policy=DeletePolicy.DELETE)
    assert "delete_policy=DeletePolicy.DELETE: the target cannot do that; it takes DeletePolicy.IGNORE" in str(
        caught.value
    )
    with pytest.raises(DeclarationError, match="delete_policy='delete': give DeletePolicy"):
        declared(delete_policy="delete")


def test_the_page_of_the_pipeline_says_what_becomes_of_rows_whose_record_is_gone() -> None:
    assert "are flagged at the target; looked for `30 3 * * *`" in declared().describe_markdown()
    by_hand = declared(reconcile=Reconcile(schedule=None), delete_policy=DeletePolicy.DELETE).describe_markdown()
    assert "are deleted at the target; looked for by hand" in by_hand
    assert (
        "are left at the target; looked for by nobody"
        in declared(reconcile=None, delete_policy=DeletePolicy.IGNORE).describe_markdown()
    )


def test_another_policy_is_another_configuration() -> None:
    assert len({declared(delete_policy=policy).config_hash for policy in DeletePolicy}) == 3
    assert declared(delete_policy=DeletePolicy.FLAG).config_hash == declared().config_hash
