"""``pytest-llm trend``: charts in a terminal, what they label, and what they refuse."""

import io
import random
import re
import sys

from pytest_llm.history import series
from pytest_llm.history.database import History
from tests.history.conftest import golden, record, verdict
from tests.reports.conftest import HOSTILE


def stepped(n=12, at=6):
    """Losses that step up with the weights, after a change of torch that did nothing."""
    return [
        record(i, verdict(value=2.5 if i < at else 2.9), torch="2.13" if i < 3 else "2.14",
               digest="0123456789abcdef" * 4 if i < at else "fedcba9876543210" * 4)
        for i in range(n)
    ]  # fmt: skip


def test_a_chart_says_where_the_level_changed_and_what_did_there(project, command):
    project(*stepped())
    assert command("trend", "loss") == (0, """\
test_m.py::test_a
       2.9 │            ● ● ● ● ● ●
           │            ┊
           │            ┊
           │            ┊
           │            ┊
           │            ┊
           │            ┊
       2.5 │● ● ● ● ● ● ┊
           └───────────────────────
                  1     2
            12 runs, 2026-09-21 to 2026-09-22; last 2.9, mean 2.7
1 2026-09-21 a0005ccd 2.5; commit 0000002 → 0000003; torch 2.13 → 2.14
2 2026-09-21 a000b99a level 2.5 → 2.9, worse (a step, without noise); commit
    0000005 → 0000006; model files 0123456789ab → fedcba987654
""", "")  # fmt: skip


def test_the_ends_of_a_chart_and_its_levels_differ_in_words_too(project, command):
    project(*(record(i, verdict(value=8.1234567 if i < 3 else 8.1234569)) for i in range(6)))
    out = command("trend", "loss")[1]
    assert [line.split(" │")[0].strip() for line in out.splitlines()[1:9]] == ["8.1234569", *[""] * 6, "8.1234567"]
    assert "level 8.1234567 → 8.1234569, worse" in out


def test_in_a_narrow_terminal_no_mark_covers_another_and_nothing_is_cut(project, command, monkeypatch):
    name = "tests/test_answers.py::test_that_the_model_answers_as_it_did[a prompt of some length]"
    project(*(record(i, verdict(nodeid=name), torch=f"2.{max(i, 94)}") for i in range(99)))
    monkeypatch.setenv("COLUMNS", "40")
    lines = command("trend", "loss")[1].splitlines()
    assert max(map(len, lines)) <= 40
    axis = next(i for i, line in enumerate(lines) if "└" in line)
    assert [line.split() for line in lines[axis + 1 : axis + 4]] == [
        ["13"],
        ["24"],
        ["99", "runs,", "2026-09-21", "to"],
    ]
    assert " ".join(lines).replace(" ", "").startswith(name.replace(" ", ""))
    assert "last 2.5, mean 2.5" in " ".join(lines)


def test_runs_in_which_the_test_measured_nothing_are_marked_and_counted(project, command):
    broken = {"test_m.py::test_a": "failed"}
    project(
        record(0, verdict()), record(1, outcomes=broken), record(2, verdict()),
        *(record(i, outcomes=broken) for i in (3, 4)), record(5, outcomes={"test_m.py::test_a": "unmeasured"}),
        {**record(6), "exit_status": 2}, record(7, golden(nodeid="t.py::b")),
    )  # fmt: skip
    assert command("trend", "loss") == (0, """\
test_m.py::test_a
       2.5 │●   ●
           └──×───×─×─×─×
            2 runs, 2026-09-21 to 2026-09-21; last 2.5, mean 2.5
× 4 later runs of this test have no figure (2 failed, 1 could not be measured, 1
    not run)
× 1 earlier run of this test has no figure (1 failed)
""", "")  # fmt: skip


def test_a_change_of_level_is_listed_before_what_comes_and_goes(project, command):
    project(*(
        record(i, verdict(value=2.5 if i < 30 else 2.9), torch="2.13" if i < 30 else "2.14", branch=("main", "exp")[i % 2])
        for i in range(70)
    ), *(record(i, verdict(value=2.9), torch="2.14", source=f"org/m{i}") for i in range(70, 90)))  # fmt: skip
    out = command("trend", "loss")[1]
    legend = out.partition("\nnot listed: 10 other changes; --html has more\n")[2].replace("\n    ", " ")
    lines = [line.split(" ", 3)[3] for line in legend.split("\n\n")[0].splitlines()]
    assert lines[0] == "level 2.5 → 2.9, worse (a step, without noise); commit 000001d → 000001e; torch 2.13 → 2.14"
    assert lines[1].endswith("model org/m78 → org/m79")
    assert len(lines) == 12
    assert legend.endswith("\n\n2 branches are in one line here (exp, main): --branch=NAME draws one\n")
    alone = command("trend", "loss", "--branch=exp")[1]
    assert "branch" not in alone
    assert "level" in alone


def test_what_comes_and_goes_is_marked_once(project, command):
    cpus = [2, 8, 8, 2, 8, 2, 2, 8, 2]
    records = [record(i, verdict(), commit="c" * 40) for i in range(9)]
    for data, n in zip(records, cpus, strict=True):
        data["environment"]["cpus"] = n
    project(*records[:5])
    assert command("trend", "loss")[1].count("cpus 2 → 8") == 2  # once or twice is worth a mark each time
    project(*records[5:])
    (line,) = [line for line in command("trend", "loss")[1].splitlines() if "cpus" in line]
    assert line == "1 2026-09-21 a0001eef 2.5; cpus 2 → 8 (back and forth, 6 times)"


def test_what_else_changed_near_a_change_of_level_among_noise_is_named(project, command):
    noise = random.Random(0)
    project(*(
        record(i, verdict(value=(2.5 if i < 20 else 3.5) + noise.gauss(0, 0.2)), commit="c" * 40,
               torch="2.13" if i < 18 else "2.14", digest="a" * 64 if i < 20 else "b" * 64, source="org/m" if i < 35 else "org/n")
        for i in range(40)
    ))  # fmt: skip
    said = command("trend", "loss")[1].replace("\n    ", " ")
    (line,) = [line for line in said.splitlines() if "level" in line]
    assert re.search(
        r"level 2\.\d+ → 3\.\d+, worse \(p 0\.001; about here\); model files a{12} → b{12}; "
        r"2 runs before: torch 2\.13 → 2\.14$",
        line,
    )


def test_ascii_where_the_terminal_has_no_more(project, command, monkeypatch):
    project(*stepped())
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    from pytest_llm.cli import main

    assert main(["trend", "loss"]) == 0
    stream.flush()
    lines = stream.buffer.getvalue().decode("ascii").splitlines()
    assert [line.rstrip() for line in lines[1:3]] == [
        "       2.9 |            * * * * * *", "           |            :"
    ]  # fmt: skip
    assert lines[-1].endswith("model files 0123456789ab -> fedcba987654")


def test_a_figure_that_nobody_measured(project, command):
    project(*stepped(3))
    assert command("trend", "bleu") == (
        2, "", "pytest-llm trend: there is no figure 'bleu' in the history; there are drift, seconds, loss\n"
    )  # fmt: skip
    assert command("trend", "loss", "--test=zebra") == (
        2, "", "pytest-llm trend: no run chosen here has 'loss' in a test with 'zebra' in its name; it is checked in "
        "test_m.py::test_a\n"
    )  # fmt: skip
    assert command("trend", "loss", "--branch=none")[2].startswith("pytest-llm trend: there is no run to draw")


def made(*records, metric, folder, **options):
    history = History(folder)
    history.add(records)
    found = series.of_metric(history, metric, runs=history.runs(), **options)
    return {one.title: [point.value for point in one.points] for one in found}


def test_a_threshold_and_a_baseline_of_one_score_are_one_series(tmp_path):
    a = [record(i, verdict(value=i), verdict(value=i, kind="threshold")) for i in range(3)]
    assert made(*a, metric="loss", folder=tmp_path / "a") == {"test_m.py::test_a": [0, 1, 2]}
    b = [record(i, verdict(value=i), verdict(value=-i, kind="threshold"), verdict(value=7.0)) for i in range(3)]
    assert made(*b, metric="loss", folder=tmp_path / "b") == {
        "test_m.py::test_a (baseline)": [0, 1, 2], "test_m.py::test_a (threshold)": [0, -1, -2],
        "test_m.py::test_a #2": [7, 7, 7],
    }  # fmt: skip


def test_drift_counts_goldens_in_all_and_by_status_of_whole_runs(tmp_path):
    records = [
        record(0, golden(), golden(nodeid="t.py::b")),
        record(1, golden("near-tie"), golden("drifted", nodeid="t.py::b")),
        record(2, golden("drifted"), filtered=True),
        record(3, golden("drifted"), golden("drifted", nodeid="t.py::b")),
    ]
    assert made(*records, metric="drift", folder=tmp_path / "a") == {
        "goldens that are not identical": [0, 2, 2], "drifted": [0, 1, 2], "near-tie": [0, 1, 0]
    }  # fmt: skip
    assert made(*records, metric="drift", folder=tmp_path / "b", test="t.py::b") == {
        "goldens that are not identical": [0, 1, 1]
    }  # fmt: skip


def test_seconds_are_of_runs_or_of_tests(tmp_path):
    records = [record(i, verdict(), seconds=float(i)) for i in range(3)] + [record(3, seconds=9.0, filtered=True)]
    assert made(*records, metric="seconds", folder=tmp_path / "a") == {"seconds of a run": [0, 1, 2]}
    assert made(*records, metric="seconds", folder=tmp_path / "b", test="test_a") == {"test_m.py::test_a": [0.1] * 3}


def test_imported_runs_stand_where_they_belong_in_time(tmp_path):
    records = [record(2, verdict(value=2)), record(0, verdict(value=0)), record(1, verdict(value=1))]
    assert made(*records, metric="loss", folder=tmp_path) == {"test_m.py::test_a": [0, 1, 2]}


def test_what_changed_is_of_the_models_that_the_test_asked(tmp_path):
    def with_judge(i, judge, revision):
        data = record(i, verdict(), verdict("score", 1.0, nodeid="t.py::judged"), commit="c" * 40, revision=revision)
        data["models"]["j"] = {**data["models"]["m1"], "source": "org/judge", "digest": judge * 64}
        for one in data["requests"]:
            one["model"] = "j" if one["nodeid"] == "t.py::judged" else "m1"
        return data

    history = History(tmp_path)
    history.add([with_judge(0, "a", "r1"), with_judge(1, "b", "r1"), with_judge(2, "b", "r2")])

    def moved(metric):
        (found,) = series.of_metric(history, metric, runs=history.runs())
        return [point.moved for point in found.points]

    assert moved("loss") == [(), (), (("revision", "r1", "r2"),)]
    assert moved("score") == [(), (("model files", "a" * 12, "b" * 12),), (("revision", "r1", "r2"),)]
    assert moved("seconds")[1:] == [
        (("model files of org/judge", "a" * 12, "b" * 12),),
        (("revision of org/tiny", "r1", "r2"), ("revision of org/judge", "r1", "r2")),
    ]


def test_another_model_and_a_model_more(tmp_path):
    two = record(2, source="org/other", commit="c" * 40)
    two["models"]["m2"] = {**two["models"]["m1"], "source": "org/judge"}
    history = History(tmp_path)
    history.add([record(0, commit="c" * 40), record(1, source="org/other", commit="c" * 40), two])
    (found,) = series.of_metric(history, "seconds", runs=history.runs())
    assert [point.moved for point in found.points] == [
        (), (("model", "org/tiny", "org/other"),), (("model", "none", "org/judge"),)
    ]  # fmt: skip


def test_more_runs_than_columns_show_their_means(project, command):
    project(*(record(i, verdict(value=(-1.0) ** i + (i >= 200) * 4)) for i in range(400)))
    lines = command("trend", "loss")[1].splitlines()
    means = [float(lines[1].split()[0]), float(lines[8].split()[0])]
    assert means == [4.2, -0.2]  # of 5, 3, 5, 3, 5 in a column, and of -1, 1, -1, 1, -1
    assert "level 0 → 4, worse (p 0.001; about here)" in " ".join(lines)


def test_an_error_shows_names_harmlessly(project, command):
    project(record(0, verdict(HOSTILE, nodeid=HOSTILE), verdict("x" * 1_000_000)))
    for arguments in (["nothing"], [HOSTILE.encode("utf-8", "backslashreplace").decode(), "--test=nothing"]):
        code, out, err = command("trend", *arguments)
        assert (code, out) == (2, "")
        assert all(c.isprintable() for c in err.removesuffix("\n"))
        assert len(err) < 1500


def test_many_charts_many_runs_and_hostile_names_stay_inside_80_columns(project, command):
    project(*(
        record(i, *(verdict(value=i % 7 + j, nodeid=f"t.py::test_{j}[{HOSTILE}]") for j in range(9)),
               torch=f"2.{i}", source=HOSTILE)
        for i in range(150)
    ))  # fmt: skip
    code, out, err = command("trend", "loss")
    assert (code, err) == (0, "")
    lines = out.split("\n")
    assert max(map(len, lines)) <= 80
    assert all(c.isprintable() for line in lines for c in line)
    assert lines[-2] == "and 3 more: --test narrows them, --html has all"
    assert sum("not listed: 137 other changes; --html has more" in line for line in lines) == 6


def test_a_model_that_other_tests_asked_is_no_news_for_one_that_asked_none(project, command):
    runs = [record(i, verdict()) for i in range(4)]
    for data in runs:
        data["requests"] = []
    runs[0]["models"], runs[3]["models"]["m1"]["digest"] = {}, "f" * 64
    project(*runs)
    found = command("trend", "loss")[1]
    assert "model none" not in found
    assert "model files 0123456789ab →\n    ffffffffffff" in found  # it may have asked through a fixture of many tests


def test_another_branch_is_marked(project, command):
    project(*(record(i, verdict(), branch="side" if i == 2 else "main", commit="c" * 40) for i in range(3)))
    assert "2.5; branch main → side" in command("trend", "loss")[1]


def test_a_threshold_and_a_baseline_of_one_score_are_one_chart(project, command):
    project(*(record(i, verdict(value=4.561761), verdict(value=4.561760937083851, kind="threshold")) for i in range(2)))
    assert command("trend", "loss")[1].count("test_m.py::test_a") == 1
