"""Several people answer a share of the rows: about that share, the same rows for all, and each row by as many."""

from __future__ import annotations

import io
import sys
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("sqlalchemy")
pytest.importorskip("sklearn")
pytest.importorskip("pyarrow")

from sklearn.linear_model import LogisticRegression

import pickwise as pw
from pickwise.annotators import Annotation, SimulatedAnnotators
from pickwise.annotators.page.source import Given
from pickwise.loop.labelling import Labelling
from pickwise.loop.settings import Settings

ROWS = 400
X = np.random.default_rng(5).normal(size=(ROWS, 2)).round(3)
TRUTH = [str(name) for name in np.where(X.sum(1) > 0, "yes", "no")]


def made(place, **told):
    told = {"classes": ["no", "yes"], "overlap": 3, "overlap_share": 0.2, "batch_size": ROWS, **told}
    return pw.Project.create(place, X, model=LogisticRegression(), **told)


def opened(place, **told):
    return pw.Project.open(place, X, model=LogisticRegression(), **told)


def answers(tasks, annotator, **more):
    return [
        Annotation(key=f"{task.key}:{annotator}:{more}", id=task.id, label=TRUTH[task.id], annotator=annotator, **more)
        for task in tasks
    ]


def split(tasks):
    """Return the tasks that one person answers, and those that several do."""
    return [task for task in tasks if task.overlap == 1], [task for task in tasks if task.overlap > 1]


def asked_of(tasks):
    return {task.id: task.overlap for task in tasks}


# ---- Which rows.


def test_about_the_share_of_the_rows_is_asked_of_several_and_the_same_whoever_looks(tmp_path, run_python):
    with made(tmp_path / "p") as project:
        first = asked_of(project.ask())
        assert set(first.values()) == {1, 3}
        assert 60 <= sum(overlap == 3 for overlap in first.values()) <= 100
        assert asked_of(project.tasks()) == first
    with opened(tmp_path / "p") as project:
        assert asked_of(project.tasks()) == first
    with pw.Project.join(tmp_path / "p") as project:
        assert asked_of(project.tasks()) == first
    code = """
        import sys, pickwise as pw
        with pw.Project.join(sys.argv[1]) as project:
            print({task.id: task.overlap for task in project.tasks()})
    """
    assert run_python(code, tmp_path / "p", PYTHONHASHSEED="7") == str(first)


def test_each_round_has_about_the_share(tmp_path):
    with made(tmp_path / "p", batch_size=100, annotator=SimulatedAnnotators(TRUTH, annotators=3)) as project:
        for _ in range(3):
            assert 10 <= len(split(project.ask())[1]) <= 30
            project.collect()
            project.fit()


@given(
    shares=st.lists(st.floats(0, 1, exclude_min=True), min_size=2, max_size=5).map(sorted),
    seed=st.integers(0, 2**40),
    row=st.text(min_size=1),
)
def test_a_larger_share_has_the_rows_of_a_smaller_one(shares, seed, row):
    drawn = [Settings(name="p", overlap=2, overlap_share=each, seed=seed).overlap_of(row) for each in shares]
    assert all(smaller <= larger for smaller, larger in pairwise(drawn))


def test_other_seeds_draw_other_rows_and_no_less():
    drawn = np.array(
        [
            [
                Settings(name="p", overlap=2, overlap_share=0.5, seed=seed).overlap_of(str(row)) == 2
                for row in range(ROWS)
            ]
            for seed in range(20)
        ]
    )
    assert np.abs(drawn.mean(1) - 0.5).max() < 0.1
    assert np.abs(np.corrcoef(drawn) - np.eye(20)).max() < 0.25


def test_rows_with_names_are_drawn_too(tmp_path):
    names = [f"ä{row}" for row in range(ROWS)]
    with made(tmp_path / "p", ids=names) as project:
        assert 60 <= len(split(project.ask())[1]) <= 100


# ---- Rounds.


def test_a_round_is_over_when_each_row_has_as_many_answers_as_it_waits_for(tmp_path):
    with made(tmp_path / "p", batch_size=40) as project:
        once, several = split(project.ask())
        assert once
        assert several
        project.record(answers([*once, *several], "ann"))
        assert {task.id for task in project.tasks()} == {task.id for task in several}
        project.record(answers(several, "bob"))
        project.collect()
        assert project.status().open == len(several)
        # What is taken back is waited for again, in the share and out of it.
        project.record(answers(several, "cleo"))
        project.record([Annotation(key=f"w{task.id}", id=task.id, kind="withdrawn", annotator="ann", version=1.0)
                        for task in (once[0], several[0])])  # fmt: skip
        assert {task.id for task in project.tasks()} == {once[0].id, several[0].id}
        project.record(answers([once[0], several[0]], "dora"))
        project.collect()
        assert (project.status().state, project.status().open) == ("closed", 0)
        labels = project.labels()
        assert dict(zip(labels.ids.tolist(), labels.answers.tolist(), strict=True)) == asked_of([*once, *several])


def test_labels_that_are_handed_over_are_one_answer_each(tmp_path):
    with made(tmp_path / "p", batch_size=40) as project:
        once, several = split(project.ask())
        project.seed({task.id: TRUTH[task.id] for task in (*once, *several)})
        assert {task.id for task in project.tasks()} == {task.id for task in several}


def test_simulated_annotators_answer_each_row_as_often_as_it_is_asked(tmp_path):
    annotator = SimulatedAnnotators(TRUTH, annotators=4, error=0.1)
    with made(tmp_path / "p", annotator=annotator, batch_size=50) as project:
        project.run(rounds=3)
        labels = project.labels()
        given = dict(zip(labels.ids.tolist(), labels.answers.tolist(), strict=True))
        assert given == {row: project.settings.overlap_of(str(row)) for row in given}
        assert set(given.values()) == {1, 3}
        assert project.status().answers == sum(given.values())
        assert len(given) == 150


def test_rows_are_asked_again_of_as_many_as_before(tmp_path):
    with made(tmp_path / "p", batch_size=40, annotator=SimulatedAnnotators(TRUTH, annotators=3)) as project:
        tasks = project.ask()
        project.collect()
        project.fit()
        once, several = split(tasks)
        again = project.relabel([once[0].id, several[0].id])
        assert asked_of(again) == {once[0].id: 1, several[0].id: 3}
        project.collect()
        assert project.status().state == "closed"


def test_the_share_may_be_changed_between_two_rounds(tmp_path):
    with made(tmp_path / "p", batch_size=40) as project:
        before = asked_of(project.ask())
    change(tmp_path / "p", "overlap_share = 0.2", "overlap_share = 0.6")
    with opened(tmp_path / "p") as project:
        after = asked_of(project.tasks())
    assert sum(before.values()) < sum(after.values())
    assert all(after[row] == 3 for row, overlap in before.items() if overlap == 3)


# ---- The page.


def test_the_page_takes_as_many_answers_as_a_row_waits_for_and_no_more(tmp_path):
    with made(tmp_path / "p", batch_size=40) as project:
        once, several = split(project.ask())
        page = Labelling(project._context)
        assert {each.key: each.overlap for each in page.look(None).asked} == {
            task.key: task.overlap for task in (*once, *several)
        }
        assert [task.overlap for task in page.tasks([once[0].key, several[0].key])] == [1, 3]

        def said(task, who):
            (refused,) = page.record([Given(item=task.key, key=f"{task.key}-{who}", annotator=who, label="yes")])
            return refused

        assert said(once[0], "ann") is None
        assert said(once[0], "bob").is_taken
        assert [said(several[0], who) for who in ("ann", "bob", "cleo")] == [None] * 3
        assert said(several[0], "dora").is_taken
        # At once, too.
        whole = [
            Given(item=task.key, key=f"{task.key}-{who}-2", annotator=who, label="no")
            for task in (once[1], several[1])
            for who in ("ann", "bob", "cleo", "dora")
        ]
        assert [each is None for each in page.record(whole)] == [True, False, False, False, True, True, True, False]
        assert len(project.tasks()) == 36


# ---- What it is told.


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"overlap_share": 0}, r"^overlap_share: expected a share above 0, and at most 1, got 0\.0$"),
        ({"overlap_share": -0.1}, "above 0, and at most 1, got -0.1"),
        ({"overlap_share": 1.5}, "above 0, and at most 1, got 1.5"),
        ({"overlap_share": float("nan")}, "above 0, and at most 1, got nan"),
        ({"overlap_share": "0.2"}, "overlap_share: expected a number, got '0.2'"),
        ({"overlap_share": True}, "overlap_share: expected a number, got True"),
        ({"overlap_share": [0.2]}, "overlap_share: expected a number"),
        (
            {"overlap": 1},
            r"^overlap_share: expected an overlap of at least 2 for a share of 0\.2, got 1, by which each",
        ),
        ({"overlap": 0}, "^overlap: expected at least 1"),
    ],
)
def test_shares_that_are_none(tmp_path, told, said):
    with pytest.raises((TypeError, ValueError), match=said):
        made(tmp_path / "p", **told)
    assert not (tmp_path / "p").exists()


def change(place, before, after):
    text = (place / "project.toml").read_text("utf-8")
    assert text.count(before) == 1
    (place / "project.toml").write_text(text.replace(before, after), "utf-8")


@pytest.mark.parametrize("share", [0.2, np.float32(0.25), 1, 1 / 3])
def test_what_is_written_down_is_read_again(tmp_path, share):
    with made(tmp_path / "p", overlap_share=share) as project:
        settings = project.settings
        assert settings.overlap_share == share
        assert type(settings.overlap_share) is float
    assert tomllib.loads((tmp_path / "p" / "project.toml").read_text("utf-8"))["overlap_share"] == share
    assert Settings.read(tmp_path / "p") == settings


def test_a_project_that_was_told_no_share_is_as_before(tmp_path):
    with made(tmp_path / "p", overlap_share=1.0, batch_size=20) as project:
        assert set(asked_of(project.ask()).values()) == {3}
    change(tmp_path / "p", "overlap_share = 1.0\n", "")
    with opened(tmp_path / "p") as project:
        assert project.settings.overlap_share == 1
        assert set(asked_of(project.tasks()).values()) == {3}


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ('overlap_share = "half"', "project.toml: overlap_share: expected a number, got 'half'"),
        ("overlap_share = 20", "project.toml: overlap_share: expected a share above 0, and at most 1, got 20"),
    ],
)
def test_a_file_of_settings_with_no_share(tmp_path, after, said):
    made(tmp_path / "p").close()
    change(tmp_path / "p", "overlap_share = 0.2", after)
    with pytest.raises((TypeError, ValueError), match=said):
        opened(tmp_path / "p")


def command(monkeypatch, *arguments):
    """Run the command in this process; return how it has ended and what it has said."""
    pytest.importorskip("typer")
    from pickwise import cli

    said = io.StringIO()
    monkeypatch.setattr(sys, "argv", ["pickwise", "project", *arguments])
    with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0, said.getvalue()


def test_a_project_is_made_by_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("pool.npy", X)
    init = [
        "init",
        "p",
        "--pool",
        "pool.npy",
        "--classes",
        "no,yes",
        "--model",
        "sklearn.linear_model.LogisticRegression",
    ]
    code, said = command(monkeypatch, *init, "--overlap-share", "0.2")
    assert code == 1
    assert said.startswith("pickwise: overlap_share: expected an overlap of at least 2 for a share of 0.2, got 1")
    assert command(monkeypatch, *init, "--overlap", "3", "--overlap-share", "1.2")[0] == 2
    assert command(monkeypatch, *init, "--overlap", "3", "--overlap-share", "0.2")[0] == 0
    settings = Settings.read(tmp_path / "p")
    assert (settings.overlap, settings.overlap_share) == (3, 0.2)
    assert command(monkeypatch, "ask", "p", "-k", "100", "-o", "batch.csv")[0] == 0
    with pw.Project.join("p") as project:
        assert 10 <= len(split(project.tasks())[1]) <= 30
