"""The claims ledger: what may be entered, what is kept, and how it is shown."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from swaplib.figures import saving
from swaplib.workbook import claims


@pytest.fixture(autouse=True)
def ledger(tmp_path, monkeypatch):
    monkeypatch.setenv("SWAPLIB_FIGURES", str(tmp_path / "figures"))
    monkeypatch.setattr(saving, "checkout", lambda: tmp_path / "clone")
    return tmp_path / "figures"


def test_every_paper_is_there_and_every_claim_is_whole():
    ids = [claim.id for claim in claims.CLAIMS]
    assert len(set(ids)) == len(ids)
    counts = {letter: sum(i[0] == letter for i in ids) for letter in "RMSLEN"}
    assert counts == {"R": 8, "M": 6, "S": 5, "L": 8, "E": 8, "N": 1}
    for claim in claims.CLAIMS:
        assert claim.claim.endswith("."), claim.id
        assert claim.test.endswith("."), claim.id
        assert claim.notebooks, claim.id
        assert claim.place, claim.id


def test_an_empty_ledger_says_that_nothing_is_tested(ledger):
    text = claims.write().read_text(encoding="utf-8")
    assert text.count("not yet tested") == len(claims.CLAIMS) == 36
    assert "0 of 36 claims tested" in text
    assert not (ledger / "claims.json").exists()


def test_a_result_is_kept_and_shown(ledger):
    claims.record("R1", 0.99812, 0.002, "holds", pairs=500, seed=0)
    claims.record("E2", "29.1 dB at 50, 29.3 dB at 200", "5 seeds", "holds weakly", reason="slow faces gain more")
    kept = json.loads((ledger / "claims.json").read_text(encoding="utf-8"))
    assert kept["R1"]["result"] == 0.99812
    assert kept["R1"]["conditions"] == {"pairs": 500, "seed": 0}
    rows = {line.split(" | ")[0].strip("| "): line for line in claims.write().read_text("utf-8").splitlines()}
    assert "| 0.9981 ± 0.002 | pairs 500, seed 0 | holds |" in rows["R1"]
    assert "29.1 dB at 50, 29.3 dB at 200 (5 seeds)" in rows["E2"]
    assert "holds weakly: slow faces gain more" in rows["E2"]
    assert "not yet tested" in rows["R2"]
    assert "2 of 36 claims tested" in claims.write().read_text("utf-8")


def test_a_later_result_replaces_an_earlier_one():
    claims.record("S1", 1.0, None, "holds")
    claims.record("S1", 2.0, None, "does not hold here")
    assert claims.results()["S1"]["result"] == 2.0
    assert claims.table().loc["S1", "verdict"] == "does not hold here"
    assert len(claims.results()) == 1


def test_untestable_needs_a_reason():
    with pytest.raises(ValueError, match="claim N1: say with reason"):
        claims.record("N1", "", None, "not testable here")
    claims.record("N1", "", None, "not testable here", reason="there is no StyleNeRF in the workbook")
    assert claims.table().loc["N1", "verdict"] == "not testable here, because there is no StyleNeRF in the workbook"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("R9", 1, None, "holds"), "unknown claim 'R9': choose one of R1, R2"),
        (("R1", 1, None, "true"), "unknown verdict 'true': choose one of holds, holds weakly, does not hold here"),
    ],
)
def test_unknown_claims_and_verdicts_are_refused(ledger, arguments, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        claims.record(*arguments)
    assert not (ledger / "claims.json").exists()


def test_what_json_cannot_hold_leaves_the_ledger_alone(ledger):
    claims.record("R1", 1, None, "holds")
    before = (ledger / "claims.json").read_bytes()
    with pytest.raises(TypeError):
        claims.record("R2", object(), None, "holds")
    assert (ledger / "claims.json").read_bytes() == before


def test_a_damaged_ledger_is_named(ledger):
    ledger.mkdir()
    (ledger / "claims.json").write_text("{")
    with pytest.raises(ValueError, match=r"claims\.json is damaged .* delete it"):
        claims.record("R1", 1, None, "holds")


def test_recording_at_once_loses_nothing():
    ids = [claim.id for claim in claims.CLAIMS]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda id: claims.record(id, 1.0, 0.1, "holds"), ids))
    assert list(claims.results()) == ids


def test_bars_and_line_breaks_do_not_break_the_table():
    claims.record("R1", "a | b\nc", None, "holds")
    lines = claims.write().read_text("utf-8").splitlines()
    (row,) = [line for line in lines if line.startswith("| R1 ")]
    assert "a \\| b c" in row


def test_only_runs_that_are_large_enough_are_entered(ledger, capsys):
    claims.record("R1", 0.5, None, "holds", when=False, pairs=3)
    assert capsys.readouterr().out == "R1 holds: 0.5\n"
    assert not ledger.exists()
    claims.record("R1", "all of them", None, "holds", when=True, pairs=300)
    assert capsys.readouterr().out == "R1 holds: all of them\n"
    assert claims.results()["R1"]["conditions"] == {"pairs": 300}, "`when` is no condition of the number"


def test_what_is_wrong_is_refused_even_where_nothing_is_entered():
    with pytest.raises(ValueError, match="unknown claim 'R9'"):
        claims.record("R9", 1, None, "holds", when=False)


@pytest.mark.parametrize(("given", "verdict"), [(True, "holds"), (np.bool_(False), "does not hold here")])
def test_a_yes_or_no_is_a_verdict(given, verdict):
    claims.record("R1", 1, None, given)
    assert claims.results()["R1"]["verdict"] == verdict


def test_what_a_run_has_not_tested_is_read_from_the_committed_ledger(ledger, tmp_path, monkeypatch):
    claims.record("R1", 1.0, None, "holds")
    claims.record("R2", 1.0, None, "holds")
    committed = tmp_path / "clone" / "figures"
    committed.parent.mkdir()
    ledger.rename(committed)
    before = (committed / "claims.json").read_bytes()
    claims.record("R2", 2.0, None, "holds")
    assert {id: entry["result"] for id, entry in claims.results().items()} == {"R1": 1.0, "R2": 2.0}
    assert "2 of 36 claims tested" in claims.write().read_text("utf-8")
    assert list(json.loads((ledger / "claims.json").read_text())) == ["R2"], "a run's ledger holds its own results"
    assert (committed / "claims.json").read_bytes() == before


def test_refreshing_renews_what_changed_and_nothing_else(ledger, tmp_path, monkeypatch):
    target = tmp_path / "clone" / "figures"
    for name in ("R1", "R2"):
        claims.record(name, 1.0, None, "holds", pairs=2)
    assert claims.refresh(ledger, target) == ["R1", "R2"]
    assert "2 of 36 claims tested" in (target / "claims.md").read_text("utf-8")
    times = {file.name: file.stat().st_mtime_ns for file in target.glob("claims.*")}
    monkeypatch.setattr(claims, "commit", lambda: "later")
    claims.record("R1", 1.0, None, "holds", pairs=2)
    assert claims.refresh(ledger, target) == []
    assert {file.name: file.stat().st_mtime_ns for file in target.glob("claims.*")} == times
    claims.record("R2", 3.0, None, "holds", pairs=2)
    assert claims.refresh(ledger, target, ["20_other"]) == []
    assert claims.refresh(ledger, target) == ["R2"]
    kept = json.loads((target / "claims.json").read_text())
    assert kept["R1"]["commit"] != "later"
    assert (kept["R2"]["commit"], kept["R2"]["result"]) == ("later", 3.0)


def test_sentences_are_printed_while_they_are_true(capsys):
    claims.check(np.float64(2) > 1, "two is more than one")
    assert capsys.readouterr().out == "two is more than one\n"
    with pytest.raises(AssertionError, match="write another sentence: one is more than two"):
        claims.check(torch.tensor(1) > 2, "one is more than two")
