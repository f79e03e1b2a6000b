"""The short form of `make chaos`: some seconds of everything at once; the long form is the same with more time."""

from __future__ import annotations

from pathlib import Path

from fenxiang_simulator import Simulator
from fenxiang_sync import FenxiangTarget
from fenxiang_sync.hub import Hub
from tests.chaos.__main__ import told
from tests.chaos.chaos import Chaos, chaos
from tests.chaos.pipelines import PIPELINES
from tests.chaos.score import scores
from tests.hub_fixtures import hub_file


def test_after_edits_faults_revoked_tokens_and_killed_workers_the_targets_hold_what_the_crm_holds(
    tmp_path: Path,
) -> None:
    asked = Chaos(
        seed=7,
        minutes=0,  # until there were windows and deaths enough
        records=40,
        workers=2,
        calls=1_000,
        part=0.02,
        kill_every_s=(2.0, 8.0),
        revoke_every_s=(4.0, 15.0),
        least_windows=2,
        deaths=(2, 2),
    )
    outcome = chaos(asked, tmp_path)
    print(told(outcome))
    assert outcome.good, told(outcome)
    assert outcome.killed
    assert outcome.spoiled
    assert outcome.edits["update"]
    assert [score.pipeline for score in outcome.scores if score.records] == list(PIPELINES)
    assert outcome.edits["void"]
    assert outcome.edits["erp update"]
    scores = {score.pipeline: score for score in outcome.scores}
    assert all(scores[name].removed for name in ("account", "product", "material", "archive"))


def test_what_is_wrong_with_records_in_the_crm_would_be_seen(tmp_path: Path) -> None:
    """The comparison can fail: one is missing, one is stale, one is there twice, and one is of nobody."""
    read, target = PIPELINES["archive"].source.object, PIPELINES["archive"].target
    assert isinstance(target, FenxiangTarget)
    made = target.object
    with (
        Simulator(seed=7, records={read: 3, made: 0}) as simulator,
        Hub.connect(f"sqlite:///{hub_file(tmp_path)}") as hub,
    ):
        tenant = simulator.tenant
        first, second, _ = tenant.records(read).values()
        for name, record, older in ((first["_id"], first, 0), (second["_id"], second, 1), (second["_id"], second, 1)):
            numbers = {"quantity__c": record["version"], "amount__c": record["last_modified_time"] - older}
            tenant.create(made, {"name": name, **numbers})
        tenant.create(made, {"name": "nobody", "quantity__c": 1, "amount__c": 1})
        [score] = scores(simulator, hub, set(), ["archive"])
    assert (score.missing, score.extra, score.stale, score.duplicated) == (1, 1, 1, 1)
    assert not score.good
