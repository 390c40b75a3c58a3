"""An evaluation in two parts, in two places, ends in the bytes of one that is made at once."""

from dataclasses import replace

import numpy as np
from tests.makers.studies import plan_tiny

from contrabench.files import damage_of
from contrabench.stages.evaluate import SCORES
from contrabench.store.stages import home_of
from contrabench.study.executors.in_process import InProcessExecutor


def test_two_parts_end_where_one_does_and_nothing_is_predicted_twice(tmp_path):
    asked = {
        **{"methods": ["scratch"], "labels": ["50%"], "draws": 1, "test_folds": [0]},
        "without": ["scratch_long", "full_supervision"],
    }
    session = plan_tiny(tmp_path, **asked)
    assert session.run(session.survey(), InProcessExecutor(None)) == ""
    (stage,) = session.graph.of_kind("evaluate")
    home = home_of(tmp_path, "evaluate")
    whole, work = home / stage.key, home / f"{stage.key}.work"

    def content():
        return {path.name: path.read_bytes() for path in whole.iterdir()}

    expected = content()
    for again in (False, True):
        whole.rename(tmp_path / f"kept{again}")
        assert session.job(stage, "first")().end == "done"
        assert not whole.exists()
        assert not (work / SCORES).exists()
        if again:
            file = work / "001.npz"
            with np.load(file) as stored:
                nothing = {**stored, "prediction": np.zeros_like(stored["prediction"])}
            np.savez_compressed(file, **nothing)
        rest = session.job(stage, "rest")
        assert (rest.device, rest.key) == (False, stage.key)
        assert rest().end == "done"
        assert damage_of(whole) is None
        found = content()
        assert found.keys() == expected.keys()
        same = {name for name, data in found.items() if data == expected[name]}
        # Seconds differ, and with them their checksum.
        timed = {"record.json", "done.json"}
        assert same - timed == set(found) - timed - ({SCORES, "001.npz"} if again else set())


def test_a_job_without_a_device_looks_for_none(tmp_path):
    session = plan_tiny(tmp_path, methods=["scratch"], labels=["50%"], draws=1, test_folds=[0])
    session = replace(session, runtime=replace(session.runtime, device="cuda"))
    stage = session.graph.runs[0]
    # Where there is no GPU its rows miss their inputs, and fine-tuning the GPU.
    assert "is gone" in session.job(stage, "rest")().reason
    tuned = session.graph.of_kind("finetune")[0]
    assert "no cuda device" in session.job(tuned)().reason
