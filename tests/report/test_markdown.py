from __future__ import annotations

from selfpretrain.report.blocks import build_blocks
from selfpretrain.report.markdown import format_markdown
from selfpretrain.report.summary import summarize
from selfpretrain.report.tables import build_tables


def test_a_report(fake_study):
    fake_study.add("none", [0.6]).add("own", [0.7])
    text = format_markdown(build_blocks(summarize(fake_study.finish(facts={"command": "c_1", "time": "1 min"}))))
    parts = text.split("\n\n")
    assert parts[0] == "# Study demo"
    assert parts[1].startswith("**topics, tiny: ") and parts[2].startswith("- own - none: ")
    assert (parts[3], parts[4].splitlines()[1]) == ("## Scores", "|---|---|---|---:|---:|---:|---:|---:|")
    assert parts[5:7] == ["![scores with intervals](scores.png)", "## Notes"]
    assert parts[8:] == ["## How this was made", "- command: c\\_1\n"]


def test_a_table(summary):
    lines = format_markdown([build_tables(summary)[0]]).splitlines()[2:]
    cells = {line.split(" | ")[2]: [cell.strip(" |") for cell in line.split(" | ")] for line in lines[2:]}
    assert len({line.count("|") for line in lines}) == 1
    assert cells["own"][3].startswith(".720 [.")
    assert cells["own"][5].startswith("&lt; .") or cells["own"][5].startswith(".")
    assert cells["bookwiki_sized"][5] == "these checkpoints only"
    assert cells["own"][7] == "3"
    assert cells["none"][7] == "3 x 2"
    assert cells["bookwiki"][3:7] == ["failed (1 of 3)", "-", "-", "-"]
    assert cells["bookwiki_sized"][7] == "1 of 2"
    assert cells["offshelf (this checkpoint)"][7] == "1 x 2"
