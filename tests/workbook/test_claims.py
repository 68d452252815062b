"""The claims ledger: what may be entered, what is kept, how it is judged, and how it is shown."""

from __future__ import annotations

import json
import math
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from swaplib.figures import saving
from swaplib.provenance import checkout
from swaplib.workbook import claims, runner
from swaplib.workbook.verdicts import judge

FOUND = "swaps in which dlib finds a face"
ROUGH = "roughness pasted minus fused"
GAIN = "points that generated faces bring"


@pytest.fixture(autouse=True)
def ledger(tmp_path, monkeypatch):
    monkeypatch.setenv("SWAPLIB_FIGURES", str(tmp_path / "figures"))
    monkeypatch.setattr(saving, "checkout", lambda: tmp_path / "clone")
    return tmp_path / "figures"


def record_any(id, value=1.0, **options):
    """Record a claim with one value for all of its statistics."""
    claims.record(id, dict.fromkeys(claims._BY_ID[id].bounds, value), **options)


def rows():
    """The table's rows by claim, from the Markdown."""
    lines = claims.write().read_text("utf-8").splitlines()
    return {line.split(" | ")[0].strip("| "): line for line in lines if line.startswith("| ")}


# ---------------------------------------------------------------------------------------------- the claims


def test_every_paper_is_there_and_every_claim_is_whole():
    ids = [claim.id for claim in claims.CLAIMS]
    assert len(set(ids)) == len(ids)
    counts = {letter: sum(i[0] == letter for i in ids) for letter in "RMSLEN"}
    assert counts == {"R": 8, "M": 6, "S": 5, "L": 8, "E": 9, "N": 1}
    for claim in claims.CLAIMS:
        assert claim.claim.endswith("."), claim.id
        assert claim.test.endswith("."), claim.id
        assert claim.place, claim.id
        assert claim.bounds, claim.id


def test_every_claim_says_what_would_refute_it():
    assert claims._BY_ID["R1"].refuted == f"{FOUND}: an interval below 0.99"
    assert claims._BY_ID["E8"].refuted == "share of the identity lost: an interval above 0.25"
    early = "exponent early: an interval outside of 0.75 to 1.25; exponent late: an interval below 1"
    assert claims._BY_ID["L3"].refuted == early
    rivals = "one of VAE-GAN's distance minus RSGAN's, ALI's distance minus RSGAN's, α-GAN's distance minus RSGAN's"
    assert claims._BY_ID["R2"].refuted == f"{rivals}: an interval below 0"


def test_every_claim_is_recorded_by_the_notebook_that_it_names():
    books = {int(book.stem[:2]): book.read_text("utf-8") for book in runner.notebooks()}
    for claim in claims.CLAIMS:
        assert f'claims.record(\\"{claim.id}\\"' in books[claim.notebook], claim.id


# ---------------------------------------------------------------------------------------------- recording


def test_an_empty_ledger_says_that_nothing_is_tested(ledger):
    text = claims.write().read_text(encoding="utf-8")
    assert text.count("not yet tested") == len(claims.CLAIMS) == 37
    assert "0 of 37 claims tested" in text
    assert not (ledger / "claims.json").exists()


def test_a_result_is_judged_kept_and_shown(ledger):
    claims.record("R1", {FOUND: claims.share([1] * 999 + [0])}, "As by landmarks", pairs=1000, seed=0)
    claims.record("M2", {ROUGH: torch.tensor([0.5, 0.2, -0.3, 0.1])}, pairs=4)
    kept = json.loads((ledger / "claims.json").read_text(encoding="utf-8"))
    one = kept["R1"]["statistics"][FOUND]
    assert one == {"value": 0.999, "low": 0.994357, "high": 0.999823, "n": 1000, "bound": "above 0.99"}
    assert kept["R1"]["conditions"] == {"pairs": 1000, "seed": 0}
    assert (kept["R1"]["verdict"], kept["M2"]["verdict"]) == ("holds", "holds weakly")
    table = rows()
    shown = f"| {FOUND} 0.999 [0.994, 1]; n 1000. As by landmarks |  | pairs 1000, seed 0 | holds |"
    assert shown in table["R1"]
    assert f"{FOUND}: an interval below 0.99" in table["R1"]
    assert "holds weakly: the interval also contains the opposite answer |" in table["M2"]
    assert "not yet tested" in table["R2"]
    assert "2 of 37 claims tested" in claims.write().read_text("utf-8")


def test_a_single_training_is_no_verdict_but_its_number_is_shown(ledger):
    claims.record("M4", {GAIN: [0.8]})
    kept = claims.results()["M4"]
    assert (kept["verdict"], kept["seeds"]) == ("not testable here", 1)
    assert kept["statistics"][GAIN]["low"] is None
    assert "0.8; n 1 | 1 |" in rows()["M4"]
    assert (
        "not testable here, because each kind was trained only once, so chance may explain the difference"
        in rows()["M4"]
    )
    claims.record("M4", {GAIN: [0.8, 0.9, 0.85]}, seeds=3)
    assert claims.results()["M4"]["verdict"] == "holds"
    assert rows()["M4"].split(" | ")[6] == "3"


def test_what_cannot_answer_is_not_testable_whatever_the_numbers_are():
    claims.record("R1", {FOUND: [1, 1, 1]}, untestable="no face has been drawn")
    assert claims.table().loc["R1", "verdict"] == "not testable here, because no face has been drawn"


def test_the_verdict_is_nobodys_to_choose():
    with pytest.raises(ValueError, match=re.escape(f"claim R1 is about {FOUND}; got swaps")):
        claims.record("R1", {"swaps": 1.0})
    with pytest.raises(ValueError, match=r"claim M3 is about .*; got F1 with the loss"):
        claims.record("M3", {"F1 with the loss minus without": 1.0})
    claims.record("R1", {FOUND: 1.0}, verdict="holds")  # no more than a condition of that name
    assert claims.results()["R1"]["verdict"] == "not testable here"


def test_a_later_result_replaces_an_earlier_one():
    claims.record("R1", {FOUND: claims.share([1] * 999 + [0])})
    claims.record("R1", {FOUND: claims.share([0] * 10)})
    assert claims.table().loc["R1", "verdict"] == "does not hold here"
    assert len(claims.results()) == 1


def test_unknown_claims_are_refused(ledger):
    for when in (True, False):
        with pytest.raises(ValueError, match="unknown claim 'R9': choose one of R1, R2"):
            claims.record("R9", {FOUND: 1.0}, when=when)
    assert not (ledger / "claims.json").exists()


def test_what_json_cannot_hold_leaves_the_ledger_alone(ledger):
    record_any("R1")
    before = (ledger / "claims.json").read_bytes()
    with pytest.raises(TypeError):
        record_any("R4", folder=object())
    assert (ledger / "claims.json").read_bytes() == before


def test_a_damaged_ledger_is_named(ledger):
    ledger.mkdir()
    (ledger / "claims.json").write_text("{")
    with pytest.raises(ValueError, match=r"claims\.json is damaged .* delete it"):
        record_any("R1")


def test_recording_at_once_loses_nothing():
    ids = [claim.id for claim in claims.CLAIMS if claim.bounds]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(record_any, ids))
    assert list(claims.results()) == ids


def test_bars_and_line_breaks_do_not_break_the_table():
    record_any("R1", text="a | b\nc")
    assert "a \\| b c" in rows()["R1"]


def test_only_runs_that_are_large_enough_are_entered(ledger, capsys):
    claims.record("R1", {FOUND: claims.share([1, 1, 1])}, when=False, pairs=3)
    verdict = "holds weakly: the interval also contains the opposite answer"
    shown = f"R1 · {claims.CLAIMS[0].claim}\n   {verdict}\n   {FOUND} 1 [0.439, 1]; n 3\n"
    assert capsys.readouterr().out == shown
    assert not ledger.exists()
    claims.record("R1", {FOUND: claims.share([1, 1, 1])}, when=True, pairs=3)
    assert capsys.readouterr().out == shown
    assert claims.results()["R1"]["conditions"] == {"pairs": 3}, "`when` is no condition of the number"


def test_each_row_names_the_command_that_repeats_it(monkeypatch):
    run = {"notebook": "20_rsgan", "parameters": {"pairs": 200, "seed": 0}, "set": {"pairs": 200, "name": "a b"}}
    monkeypatch.setenv("SWAPLIB_RUN", json.dumps(run))
    record_any("R1")
    assert claims.table().loc["R1", "repeated by"] == "`swaplib run 20_rsgan --set pairs=200 --set 'name=a b'`"
    monkeypatch.setenv("SWAPLIB_RUN", json.dumps(run | {"set": {}}))
    record_any("R1")
    assert claims.table().loc["R1", "repeated by"] == "`swaplib run 20_rsgan`"


# ---------------------------------------------------------------------------------------------- committed, refreshed


def test_what_a_run_has_not_tested_is_read_from_the_committed_ledger(ledger, tmp_path):
    record_any("R1")
    record_any("R4", text="once")
    committed = tmp_path / "clone" / "figures"
    committed.parent.mkdir()
    ledger.rename(committed)
    before = (committed / "claims.json").read_bytes()
    record_any("R4", text="twice")
    assert {id: entry["text"] for id, entry in claims.results().items()} == {"R1": "", "R4": "twice"}
    assert "2 of 37 claims tested" in claims.write().read_text("utf-8")
    assert list(json.loads((ledger / "claims.json").read_text())) == ["R4"], "a run's ledger holds its own results"
    assert (committed / "claims.json").read_bytes() == before


def test_what_an_earlier_version_wrote_is_left_out(ledger, tmp_path):
    record_any("R1")
    entries = claims.read_entries(ledger / "claims.json")
    (ledger / "claims.json").write_text(json.dumps(entries | {"R2": {"verdict": "holds", "notebook": "20_rsgan"}}))
    assert "R2" not in claims.results()
    assert claims.refresh(ledger, tmp_path / "target") == list(entries)


def test_refreshing_renews_what_changed_and_nothing_else(ledger, tmp_path, monkeypatch):
    target = tmp_path / "clone" / "figures"
    for name in ("R1", "R4"):
        record_any(name, pairs=2)
    assert claims.refresh(ledger, target) == ["R1", "R4"]
    assert "2 of 37 claims tested" in (target / "claims.md").read_text("utf-8")
    times = {file.name: file.stat().st_mtime_ns for file in target.glob("claims.*")}
    monkeypatch.setattr(claims, "commit", lambda: "later")
    record_any("R1", pairs=2)
    assert claims.refresh(ledger, target) == []
    assert {file.name: file.stat().st_mtime_ns for file in target.glob("claims.*")} == times
    record_any("R4", 3.0, pairs=2)
    assert claims.refresh(ledger, target, ["20_other"]) == []
    assert claims.refresh(ledger, target) == ["R4"]
    kept = json.loads((target / "claims.json").read_text())
    assert kept["R1"]["commit"] != "later"
    assert kept["R4"]["commit"] == "later"
    assert {one["value"] for one in kept["R4"]["statistics"].values()} == {3.0}


COMMITTED = json.loads((checkout() / "figures" / "claims.json").read_text("utf-8"))


def test_all_claims_with_a_test_are_in_the_committed_ledger():
    assert list(COMMITTED) == [claim.id for claim in claims.CLAIMS if claim.bounds]


@pytest.mark.parametrize("id", COMMITTED)
def test_committed_verdicts_follow_from_their_numbers(id):
    claim, entry = claims._BY_ID[id], COMMITTED[id]
    bounds = {name: one["bound"] for name, one in entry["statistics"].items()}
    assert bounds == {name: str(bound) for name, bound in claim.bounds.items()}
    found = claims.read_estimates(entry)
    verdict = judge(found, claim.bounds, claim.trained, entry["seeds"], entry["untestable"])
    assert (entry["verdict"], entry["reason"]) == verdict
    for one in found.values():
        assert one.n > 0
        assert math.isnan(one.low) or one.low <= one.value <= one.high
    assert entry["command"].startswith(f"swaplib run {entry['notebook']}")
    assert entry["notebook"].startswith(str(claim.notebook))
    assert entry["conditions"], "what the numbers depend on"


# ---------------------------------------------------------------------------------------------- sentences


def test_sentences_are_printed_while_they_are_true(capsys):
    claims.check(torch.tensor(2) > 1, "two is more than one")
    assert capsys.readouterr().out == "two is more than one\n"
    with pytest.raises(AssertionError, match="write another sentence: one is more than two"):
        claims.check(torch.tensor(1) > 2, "one is more than two")
