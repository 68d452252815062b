"""The claims ledger: what may be entered, what is kept, and how it is shown."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from swaplib.workbook import claims


@pytest.fixture(autouse=True)
def ledger(tmp_path, monkeypatch):
    monkeypatch.setenv("SWAPLIB_FIGURES", str(tmp_path / "figures"))
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
