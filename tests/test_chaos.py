"""The short form of `make chaos`: some seconds of everything at once; the long form is the same with more time."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.__main__ import told
from tests.chaos.chaos import Chaos, chaos
from tests.chaos.pipelines import PIPELINES


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
