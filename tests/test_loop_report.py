"""The report: whole in one file, the same for the same data, and nothing in it that the project's texts could run."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import numpy as np
import pytest

from pickwise.loop.drift import compare
from pickwise.loop.history import Round, State
from pickwise.loop.profile import Profile
from pickwise.loop.report import AnnotatorRow, InformativeRow, ReportData, render, write

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
pytest.importorskip("scipy")

HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)> & $\\frac{$ {{ 7 * 7 }} \x00\ud800\u202e"
EMPTY = ReportData(name="new", created_at=datetime(2026, 11, 26, 16, 40, tzinfo=UTC))


def sample(classes=("spam", "ham", "other"), rounds=3, **changes):
    rng = np.random.default_rng(0)
    steps = [
        Round(
            number=number,
            state=State.trained,
            strategy={"strategy": "margin"},
            asked=50,
            answered=48,
            labelled=48 * (number + 1),
            metrics={"accuracy": 0.6 + 0.1 * number, "macro_f1": 0.55 + 0.1 * number, "delta_f": 0.01},
            per_class={name: {"precision": 0.8, "recall": rng.random(), "f1": 0.7, "support": 40} for name in classes},
        )
        for number in range(rounds)
    ]
    steps.append(Round(number=rounds, state=State.collecting, asked=50, answered=7))
    p = rng.dirichlet(np.ones(len(classes)), (2, 60))
    probes = [Profile(scores=x.max(1), probabilities=x, classes=classes, embeddings=x) for x in p]
    values = {
        "name": "reviews",
        "created_at": EMPTY.created_at,
        "settings": {"task": "multiclass", "model": {"estimator": "Ridge", "parameters": {"C": 1.0}}},
        "rounds": steps,
        "evaluation_rows": 400,
        "classes": classes,
        "class_counts": dict(zip(classes, rng.integers(1, 90, len(classes)).tolist(), strict=True)),
        "scores": {number: rng.random(200) for number in range(rounds)},
        "informative": [InformativeRow(i, 1, 0.9, classes[0], f"text {i}") for i in range(3)],
        "annotators": [AnnotatorRow("anna", 90, 0.95, 4.2), AnnotatorRow("bo", 40, None, None)],
        "kappa": 0.81,
        "drifts": [compare(*probes, p[0][:5])],
        "stopped": "the budget is spent",
        "deployed": "round 2",
        "versions": {"numpy": "2.0"},
        "budget_left": 1200,
        "label_seconds": {0: 400.0, 1: 600.0},
    }
    return ReportData(**values | changes)


class Page(HTMLParser):
    """What a browser would see: elements with their attributes, and text."""

    VOID = frozenset({"meta", "path", "use", "rect"})

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.text, self.open, self.wrong = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "br", "img"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def test_it_has_all_parts():
    page = Page(render(sample()))
    assert not page.wrong
    assert not page.open
    assert [tag for tag, _ in page.elements].count("svg") == 7
    for words in (
        "best accuracy 80.0% by round 2; 95 % interval 75.8% to 83.6%",
        "budget left 1,200",
        "Wilson 95 % interval of the accuracy on 400 evaluation rows",
        "151 rows answered in all, in 0.3 hours",
        "Beyond chance annotators agree by 0.810",
        "In use: round 2",
        "The loop has ended: the budget is spent",
        "model.parameters.C 1.0",
        "As of 2026-11-26 16:40 UTC",
    ):
        assert words in page.words, words


def test_empty_parts_say_why():
    page = Page(render(EMPTY))
    assert "svg" not in {tag for tag, _ in page.elements}
    assert "table" not in {tag for tag, _ in page.elements}
    for words in (
        "No model has been measured yet",
        "No row has been answered yet",
        "No row has a class yet",
        "No scores of the probe were kept",
        "Nobody has answered yet",
        "The pool has not been replaced yet",
        "no budget is set",
    ):
        assert words in page.words


def test_markup_is_shown_as_text():
    classes = (HOSTILE, "b", "_hidden", "$\\frac$")
    probe = Profile(scores=np.arange(8.0), probabilities=np.eye(4)[np.arange(8) % 4], classes=classes)
    data = sample(
        classes,
        name=HOSTILE,
        settings={HOSTILE: {HOSTILE: HOSTILE}},
        informative=[InformativeRow(HOSTILE, 1, 0.5, HOSTILE, HOSTILE)],
        annotators=[AnnotatorRow(HOSTILE, 1, 0.5, 1.0)],
        drifts=[compare(probe, probe)],
        stopped=HOSTILE,
        deployed=HOSTILE,
        versions={HOSTILE: HOSTILE},
    )
    text = render(data)
    page = Page(text)
    assert not page.wrong
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "iframe", "link", "object", "a"}
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.words.count("<script>alert('x')</script>") > 8
    assert "{{ 7 * 7 }}" in page.words
    assert "_hidden" in page.words
    assert page.words.count("$\\frac$") > 2
    assert not set("\x00\ud800\u202e") & set(text)


def test_it_asks_nobody_for_anything():
    text = render(sample())
    assert "default-src 'none'" in text
    for _, attributes in Page(text).elements:
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith("#")
    assert not re.findall(r"url\((?!#)|@import|https?://", text)


def test_ids_do_not_clash_and_lead_somewhere():
    text = render(sample())
    ids = [attributes["id"] for _, attributes in Page(text).elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', text)) == set(ids)


def test_the_same_data_makes_the_same_bytes(tmp_path, run_python):
    one, other = write(sample(), tmp_path / "1.html"), write(sample(), tmp_path / "2.html")
    assert one.read_bytes() == other.read_bytes()
    run_python(
        """
        import sys
        from datetime import UTC, datetime
        from pickwise.loop.report import ReportData, write
        data = ReportData(name="a", created_at=datetime(2026, 1, 1, tzinfo=UTC), class_counts={"x": 1, "y": 2})
        write(data, sys.argv[1])
        """,
        tmp_path / "3.html",
        PYTHONHASHSEED="7",
    )
    data = ReportData(name="a", created_at=datetime(2026, 1, 1, tzinfo=UTC), class_counts={"x": 1, "y": 2})
    assert (tmp_path / "3.html").read_bytes() == write(data, tmp_path / "4.html").read_bytes()


def test_a_failed_write_leaves_the_old_report(tmp_path):
    file = write(EMPTY, tmp_path / "report.html")
    before = file.read_bytes()
    (tmp_path / ".report.html.partial").mkdir()
    with pytest.raises(OSError, match="partial"):
        write(sample(), file)
    assert file.read_bytes() == before


def test_of_eighty_classes_the_first_and_the_last_are_drawn_and_all_are_listed():
    classes = tuple(f"class {i:02}" for i in range(80))
    text = render(sample(classes, class_counts={name: 100 - i for i, name in enumerate(classes)}))
    charts = re.findall(r"<figure>.*?</figure>", text, re.DOTALL)
    balance = next(chart for chart in charts if "Labelled rows of each of 80 classes: from 21 to 100" in chart)
    drawn = [name for name in classes if f">{name}<" in balance]
    assert drawn == [*classes[:12], *classes[-12:]]
    assert "… 56 more …" in balance
    assert all(f"<bdi>{name}</bdi>" in text for name in classes)
    assert "where there are 30 classes or fewer" in text


def test_long_texts_are_shortened():
    row = InformativeRow("id", 1, 0.5, "a", "word " * 10**5)
    text = render(sample(informative=[row] * 200))
    shown = re.findall(r"<bdi>(word .*?)</bdi>", text)
    assert len(shown) == 50
    assert max(map(len, shown)) <= 240
    assert shown[0].endswith("…")


def test_secrets_are_hidden():
    text = render(
        sample(settings={"database": "postgresql://ann:hunter2@db/x", "annotator": {"api_key": "k3y", "url": "x"}})
    )
    assert "hunter2" not in text
    assert "k3y" not in text
    assert "postgresql://ann:***@db/x" in text


@pytest.mark.parametrize("metrics", [{"r2": 0.4, "mae": 2.0}, {"mae": 2.0}, {"log_loss": 0.5}, {"accuracy": 1.0}])
def test_other_metrics(metrics):
    page = Page(render(ReportData(name="a", created_at=EMPTY.created_at, rounds=[round_of(metrics)])))
    assert [tag for tag, _ in page.elements].count("svg") == 2
    if "accuracy" in metrics:
        assert "How many evaluation rows there are is unknown" in page.words


def round_of(metrics):
    return Round(number=1, state=State.trained, asked=5, answered=5, labelled=5, metrics=metrics)


def test_less_is_better_for_losses():
    rounds = [
        Round(number=n, state=State.trained, labelled=n, answered=1, metrics={"accuracy": 0.5, "log_loss": loss})
        for n, loss in ((1, 0.9), (2, 0.3), (3, 0.4))
    ]
    page = Page(render(ReportData(name="a", created_at=EMPTY.created_at, rounds=rounds, metric="log_loss")))
    assert "best log loss 0.300 by round 2" in page.words


def test_what_could_not_be_measured_is_left_out():
    nan = float("nan")
    per_class = {"a": {"recall": 0.5, "support": 10}, "b": {"recall": nan, "precision": nan, "support": 0}, "c": {}}
    steps = [
        Round(number=n, state=State.trained, answered=1, labelled=n, metrics=metrics, per_class=per_class)
        for n, metrics in ((1, {"accuracy": 0.5, "agreement": nan}), (2, {"accuracy": nan}))
    ]
    row = InformativeRow(1, 1, None, None, None)
    page = Page(render(ReportData(name="a", created_at=EMPTY.created_at, rounds=steps, informative=[row])))
    assert "best accuracy 50.0% by round 1" in page.words
    assert [tag for tag, _ in page.elements].count("svg") == 4
    assert not re.search(r"\bnan\b", page.words)


def test_scores_that_are_not_finite_are_left_out():
    scores = {1: np.array([np.nan, np.inf]), 2: np.array([0.5, np.inf, 0.7]), 3: np.empty(0)}
    assert "higher: more worth labelling" in render(sample(scores=scores))
    assert "No scores of the probe were kept" in render(sample(scores={1: scores[1]}))


def test_names_in_letters_that_the_font_lacks():
    assert "不能退货" in render(sample(("不能退货", "إرجاع", "😀")))


def test_the_style_of_the_caller_is_left_alone():
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 33, "text.usetex": True}):
        text = render(sample())
        assert mpl.rcParams["font.size"] == 33
    assert text == render(sample())


def test_columns_that_say_nothing_are_left_out():
    rows = [InformativeRow(i, 1, 0.9, "spam", None) for i in range(3)]
    text = " ".join(Page(render(sample(informative=rows))).text)
    assert "score label Annotators" not in text
    assert "label text" not in text
    both = " ".join(Page(render(sample(informative=[*rows, InformativeRow(9, 1, 0.9, None, "a text")]))).text)
    assert "score label text" in " ".join(both.split())


def test_a_row_that_two_annotators_label_counts_once(tmp_path):
    pytest.importorskip("sqlalchemy")
    from sklearn.linear_model import LogisticRegression

    import pickwise as pw
    from pickwise.annotators import SimulatedAnnotators
    from pickwise.loop.reporting import report_data

    x = np.random.default_rng(0).normal(size=(40, 2))
    truth = np.where(x[:, 0] > 0, "yes", "no")
    annotator = SimulatedAnnotators(truth, annotators=2)
    with pw.Project.create(
        tmp_path / "p", x, model=LogisticRegression(), annotator=annotator, overlap=2, batch_size=10
    ) as project:
        project.run(rounds=1)
        assert sum(project.status().classes.values()) == 20
        assert sum(report_data(project._context).class_counts.values()) == 10


def test_the_time_for_an_answer_is_that_of_the_round_which_asked_for_it(tmp_path):
    pytest.importorskip("sqlalchemy")
    from sklearn.linear_model import LogisticRegression

    import pickwise as pw
    from pickwise.annotators import Annotation
    from pickwise.loop.reporting import report_data

    x = np.random.default_rng(0).normal(size=(40, 2))
    with pw.Project.create(tmp_path / "p", x, model=LogisticRegression(), batch_size=2) as project:
        first = project.ask()
        for again, who, seconds in ((False, "ann", 10.0), (True, "bob", 7.0)):
            tasks = project.relabel([task.id for task in first]) if again else first
            project.record(
                [Annotation(key=f"{who}:{t.key}", id=t.id, label="a", annotator=who, seconds=seconds) for t in tasks]
            )
            project.collect()
        assert report_data(project._context).label_seconds == {1: 20.0, 2: 14.0}
