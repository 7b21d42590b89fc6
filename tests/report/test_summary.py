"""The table of figures and the picture of learning curves."""

import pytest

from qpsbgd.experiments import CurvePoint, Result, Run
from qpsbgd.report import draw_curves, table


@pytest.fixture
def result() -> Result:
    made = [
        Run(
            seed,
            {"test_accuracy": 0.9 + 0.02 * seed, "train_loss": 0.1, "seconds": 2.0, "qubos_per_second": 5e3},
            tuple(CurvePoint(step, {"loss": 1 / step, "test_accuracy": 0.5}) for step in (1, 2)),
        )
        for seed in range(2)
    ]
    return Result("toy", "qpsbgd", {}, tuple(made))


def test_table_shows_mean_and_deviation(result):
    header, rule, row = table([result]).splitlines()
    assert len(header) == len(rule) == len(row)
    assert row.split("|")[2:5] == [" 0.9100 ± 0.0141 ", " 2.0     ", " 5,000   "]


def test_table_of_a_task_that_measures_no_time_has_dashes():
    bare = Result("toy", "adam", {}, (Run(0, {"final_value": 0.25}),))
    assert table([bare], "final_value").splitlines()[-1] == "| adam      | 0.2500      | –       | –       |"


def test_curves_are_drawn_as_png(result, tmp_path):
    draw_curves([result], tmp_path / "new" / "curves.png")
    assert (tmp_path / "new" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_results_without_curves_draw_nothing(tmp_path):
    draw_curves([Result("toy", "adam", {}, (Run(0, {"final_value": 0.25}),))], tmp_path / "curves.png")
    assert list(tmp_path.iterdir()) == []
