"""Matrices kept over a training, and their heat maps."""

import numpy as np
import pytest
import torch

from oracles import relative_scale
from qpsbgd.diagnostics import QuboRecorder, draw_qubos, qubo_matrix
from qpsbgd.optim import QPSBGD
from training import batches, small_net, train


def test_recorder_keeps_the_matrices_of_its_rows_and_steps():
    model = small_net()
    optimizer = QPSBGD(model.parameters())
    seen = []
    optimizer.register_projection_hook(seen.append)
    with QuboRecorder(optimizer, model[0].weight, rows=[1, 4], steps=[1, 3]) as recorder:
        train(model, optimizer, batches(3))
    train(model, optimizer, batches(1))
    assert sorted(recorder.matrices) == [(1, 1), (1, 4), (3, 1), (3, 4)]
    third = [projection for projection in seen if projection.weight is model[0].weight][2]
    p = third.p[4].double().numpy()
    expected, _ = qubo_matrix(p, third.A, relative_scale(p, third.A.astype(np.float64)))
    np.testing.assert_allclose(recorder.matrices[3, 4], expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": [8]}, r"rows must be in 0..7, but are \[8\]"),
        ({"steps": [0]}, r"steps must be at least 1, but are \[0\]"),
        ({"weight": torch.nn.Parameter(torch.ones(2, 2))}, r"weight of shape \(2, 2\) is none"),
    ],
)
def test_recorder_refuses_what_is_not_there(change, message):
    model = small_net()
    optimizer = QPSBGD(model.parameters())
    with pytest.raises(ValueError, match=message):
        QuboRecorder(optimizer, **{"weight": model[0].weight, "rows": [0], "steps": [1], **change})


def test_projected_variant_is_refused_since_its_rows_pose_other_problems():
    model = small_net()
    optimizer = QPSBGD(model.parameters(), variant="projected")
    with pytest.raises(ValueError, match="variant='projected', expected the continuous variant"):
        QuboRecorder(optimizer, model[0].weight, rows=[0], steps=[1])


def test_picture_shows_every_matrix_on_one_scale(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    shown = []
    draw = Axes.imshow

    def spy(axes, data, **options):
        shown.append((data, options))
        return draw(axes, data, **options)

    monkeypatch.setattr(Axes, "imshow", spy)
    matrices = {(1, 0): np.eye(3), (1, 2): -5 * np.eye(3), (7, 2): np.ones((3, 3))}
    draw_qubos(matrices, tmp_path / "new" / "qubos.png")
    assert (tmp_path / "new" / "qubos.png").read_bytes().startswith(b"\x89PNG")
    assert [data.tolist() for data, _ in shown] == [matrix.tolist() for matrix in matrices.values()]
    assert all((options["vmin"], options["vmax"]) == (-5.0, 5.0) for _, options in shown)


def test_picture_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="matrices is empty"):
        draw_qubos({}, tmp_path / "qubos.png")
