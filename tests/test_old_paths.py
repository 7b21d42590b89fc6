"""Code and files that were written for an earlier layout of the package still work."""

import pickle
import pickletools
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import nn

from qpsbgd import QPSBGD
from qpsbgd.nn import BinaryLinear

SAVED = Path(__file__).parent / "support" / "saved_in_the_flat_layout.pt"
"""A network as a whole, the optimizer's state dict, a batch, and the network's state one step later."""

MOVED = [
    ("qpsbgd.datasets", "qpsbgd.data.datasets"),
    ("qpsbgd.datasets_graph", "qpsbgd.data.graphs"),
    ("qpsbgd.download", "qpsbgd.data.download"),
    ("qpsbgd.files", "qpsbgd.data.files"),
    ("qpsbgd.instances", "qpsbgd.data.instances"),
    ("qpsbgd.progress", "qpsbgd.data.progress"),
    ("qpsbgd.full_gradient", "qpsbgd.diagnostics.full_gradient"),
    ("qpsbgd.measures", "qpsbgd.diagnostics.measures"),
    ("qpsbgd.experiments.minimising", "qpsbgd.experiments.core.minimising"),
    ("qpsbgd.experiments.results", "qpsbgd.experiments.core.results"),
    ("qpsbgd.experiments.task", "qpsbgd.experiments.core.task"),
    ("qpsbgd.experiments.training", "qpsbgd.experiments.core.training"),
    ("qpsbgd.latent", "qpsbgd.optim.latent"),
    ("qpsbgd.residual", "qpsbgd.optim.residual"),
    ("qpsbgd.sampler", "qpsbgd.solvers.sampler"),
    ("qpsbgd.solvers.dimod_solver", "qpsbgd.solvers.dimod"),
    ("qpsbgd.solvers.qpu.graph", "qpsbgd.solvers.qpu.chip.graph"),
    ("qpsbgd.solvers.qpu.layout", "qpsbgd.solvers.qpu.chip.layout"),
    ("qpsbgd.solvers.qpu.packing", "qpsbgd.solvers.qpu.chip.packing"),
    ("qpsbgd.solvers.qpu.store", "qpsbgd.solvers.qpu.chip.store"),
    ("qpsbgd.gram", "qpsbgd.step.gram"),
    ("qpsbgd.proximal", "qpsbgd.step.projected"),
    ("qpsbgd.published", "qpsbgd.step.published"),
    ("qpsbgd.validation", "qpsbgd.problem.checks"),
]
"""Modules that moved as a whole: old path, new path."""

SPLIT = {
    "qpsbgd.solvers.device_noise": {
        "qpsbgd.solvers.noise.device": "DeviceNoise",
        "qpsbgd.solvers.noise.program": "ControlErrors Couplers program",
        "qpsbgd.solvers.noise.readout": "misread",
    },
    "qpsbgd.layer_qubos": {
        "qpsbgd.diagnostics.posed": "SolvedRows qubo_matrix solved_rows",
        "qpsbgd.diagnostics.recorder": "QuboRecorder draw_qubos",
    },
    "qpsbgd.experiments.runner": {
        "qpsbgd.experiments.core.runner": "execute run tune",
        "qpsbgd.experiments.core.store": "Job Record Store read_records",
    },
    "qpsbgd.diagnostics": {
        "qpsbgd.diagnostics.full_gradient": "full_gradient",
        "qpsbgd.diagnostics.measures": "QuboGap cdp cosine qubo_gap sign_agreement",
        "qpsbgd.diagnostics.summary": "NOTE LayerRecord LayerSummary",
        "qpsbgd.diagnostics.watch": "Diagnostics",
    },
    "qpsbgd": {
        "qpsbgd.optim": "QPSBGD",
        "qpsbgd.solvers": "solve_ising solve_qubo",
        "qpsbgd.problem": "Solutions",
        "qpsbgd.projection": "project",
        "qpsbgd.solvers.sampler": "NativeSampler",
    },
}
"""Modules whose names come from several: old path -> new path -> names."""

NAMES = {
    "qpsbgd": (
        "QPSBGD NativeSampler Solutions baselines diagnostics nn project residual solve_ising solve_qubo "
        "solvers"
    ),
    "qpsbgd.baselines": "BinaryConnect Bop ProxQuant SignSGD",
    "qpsbgd.baselines.binaryconnect": "BinaryConnect",
    "qpsbgd.baselines.bop": "Bop",
    "qpsbgd.baselines.proxquant": "ProxQuant",
    "qpsbgd.baselines.signsgd": "SignSGD",
    "qpsbgd.capture": (
        "BinaryWeight Capture Record RowForm as_binary_weight attach binarize record_slopes recorded_product "
        "relax"
    ),
    "qpsbgd.cli": "main",
    "qpsbgd.datasets": ("FILES Dataset adult data_folder digits load mnist mnist_pair validation_split"),
    "qpsbgd.datasets_graph": "FIELDS GraphDataset karate load_graph planetoid",
    "qpsbgd.diagnostics": (
        "NOTE Diagnostics LayerRecord LayerSummary QuboGap cdp cosine full_gradient qubo_gap sign_agreement"
    ),
    "qpsbgd.download": "DownloadError RemoteFile fetch",
    "qpsbgd.experiments": "EXPERIMENTS OPTIMIZERS TASKS CurvePoint Experiment Result Run Settings Task",
    "qpsbgd.experiments.catalogue": "EXPERIMENTS TASKS",
    "qpsbgd.experiments.classification": "Classification Samples judge prepare",
    "qpsbgd.experiments.convergence": "EXPERIMENT FixedPoint GradientNorm fitted_exponent",
    "qpsbgd.experiments.convex": "EXPERIMENT LogisticRegression correlated_samples",
    "qpsbgd.experiments.finishing": "EXPERIMENT RESOLVE Finishing",
    "qpsbgd.experiments.graphs": "NodeClassification",
    "qpsbgd.experiments.minimising": (
        "REAL_OPTIMIZERS Objective SignDescent make_real_optimizer minimise rates"
    ),
    "qpsbgd.experiments.networks": "Activation Cnn Gcn Mlp Network activation draw_weights",
    "qpsbgd.experiments.noise": "CHANNELS CHANNELS_EXPERIMENT EXPERIMENT NoisyTraining",
    "qpsbgd.experiments.optimizers": "OPTIMIZERS make_optimizer",
    "qpsbgd.experiments.resolve": (
        "PassReport SignLayer SignNet flip_output fold refit_output resolve resolve_neuron"
    ),
    "qpsbgd.experiments.results": "CurvePoint Result Run write_results",
    "qpsbgd.experiments.rosenbrock": "EXPERIMENT Rosenbrock residuals",
    "qpsbgd.experiments.runner": "Job Record Store execute read_records run tune",
    "qpsbgd.experiments.task": "Experiment Setting Settings Split Task",
    "qpsbgd.experiments.training": "fit",
    "qpsbgd.files": "atomic_write replace_durably",
    "qpsbgd.full_gradient": "Data LossFunction full_gradient",
    "qpsbgd.gram": "gram_matrices row_chunks weighted_grams",
    "qpsbgd.instances": "BestKnown Instance SparseRows best_known read_instance",
    "qpsbgd.latent": "LatentWeightOptimizer Update adam_step descend restore_state",
    "qpsbgd.layer_qubos": "QuboRecorder SolvedRows draw_qubos qubo_matrix solved_rows",
    "qpsbgd.measures": "QuboGap cdp cosine fraction qubo_gap sign_agreement",
    "qpsbgd.nn": ("Activated BinaryActivation BinaryConv2d BinaryGCNConv BinaryLinear Scale to_binary"),
    "qpsbgd.nn.activation": "Activated BinaryActivation Scale",
    "qpsbgd.nn.base": "BinaryLayer",
    "qpsbgd.nn.convert": "to_binary",
    "qpsbgd.nn.convolution": "BinaryConv2d",
    "qpsbgd.nn.graph": "BinaryGCNConv",
    "qpsbgd.nn.linear": "BinaryLinear",
    "qpsbgd.optim": "QPSBGD Projection",
    "qpsbgd.problem": (
        "CSRCouplings Couplings IsingProblem Solutions check_finite ising_problem qubo_problem"
    ),
    "qpsbgd.progress": "ProgressBar",
    "qpsbgd.projection": (
        "average error_feedback gram_matrix move_weights native_step objective project project_gradient "
        "projection_requests raw_form resolve_solver row_problems"
    ),
    "qpsbgd.proximal": "MAJORIZERS proximal_model proximal_step row_curvatures with_curvature_average",
    "qpsbgd.published": "project_published published_objective",
    "qpsbgd.report": "axis_table draw_against_axis draw_curves page table",
    "qpsbgd.report.axis": "axis_table draw_against_axis",
    "qpsbgd.report.page": "page",
    "qpsbgd.report.statistics": "Comparison compare two_sided_p",
    "qpsbgd.report.summary": "draw_curves table",
    "qpsbgd.report.svg": "Line plot",
    "qpsbgd.residual": "ResidualQPSBGD jacobians",
    "qpsbgd.sampler": "NativeSampler",
    "qpsbgd.solvers": (
        "AsyncQuboSolver DeviceNoise DimodSolver NativeSolver NoisySolver QPUSolver QuboSolver solve_ising "
        "solve_qubo"
    ),
    "qpsbgd.solvers.device_noise": "ControlErrors Couplers DeviceNoise misread program",
    "qpsbgd.solvers.dimod_solver": "DimodSolver",
    "qpsbgd.solvers.native": ("METHODS NativeSolver default_num_threads solve_ising solve_qubo"),
    "qpsbgd.solvers.noise": "DeviceNoise NoisySolver",
    "qpsbgd.solvers.protocol": "AsyncQuboSolver PendingSolutions QuboSolver",
    "qpsbgd.solvers.qpu": (
        "QPUBudgetError QPUConfigError QPUError QPUFallbackWarning QPUSolver QPUTimeoutError"
    ),
    "qpsbgd.solvers.qpu.config": "configured_token redacted require_ocean require_token",
    "qpsbgd.solvers.qpu.cost": "DEFAULT_TIMING_DATA Ledger TimingModel access_time",
    "qpsbgd.solvers.qpu.errors": (
        "QPUBudgetError QPUConfigError QPUError QPUFallbackWarning QPUTimeoutError"
    ),
    "qpsbgd.solvers.qpu.graph": "WorkingGraph working_graph",
    "qpsbgd.solvers.qpu.layout": "Layout Unembedded make_layout",
    "qpsbgd.solvers.qpu.options": "Options",
    "qpsbgd.solvers.qpu.packing": "Clique largest_clique_size pack_cliques",
    "qpsbgd.solvers.qpu.retry": "RetryPolicy is_device_failure is_transient",
    "qpsbgd.solvers.qpu.scaling": (
        "CONTROL_ERROR Limits bounded_fields chain_strengths effective_bits row_scales"
    ),
    "qpsbgd.solvers.qpu.solver": "QPUSolver",
    "qpsbgd.solvers.qpu.store": "EmbeddingStore default_cache_dir",
    "qpsbgd.solvers.requests": "Request answer_requests",
    "qpsbgd.validation": (
        "check_betas check_choice check_fraction check_learning_rate check_nonnegative check_scale check_seed"
    ),
}
"""What every module of the flat layout exported.

Left out are ``device``, ``jobs``, ``plan`` and ``rounds`` of `qpsbgd.solvers.qpu`, the inner parts of
`QPUSolver`: no page, example or test has imported a name from them. ``check_sizes`` of the layers and
``checked_seed`` of the native solver were checks of arguments.
"""


@pytest.mark.parametrize("path", NAMES)
def test_module_has_all_names_that_it_had(path):
    module = import_module(path)
    assert [name for name in NAMES[path].split() if not hasattr(module, name)] == []


@pytest.mark.parametrize(("old", "new"), MOVED)
def test_moved_module_gives_the_same_objects(old, new):
    before, now = import_module(old), import_module(new)
    assert [name for name in NAMES[old].split() if getattr(before, name) is not getattr(now, name)] == []


@pytest.mark.parametrize("old", SPLIT)
def test_split_module_gives_the_same_objects(old):
    module = import_module(old)
    for new, names in SPLIT[old].items():
        for name in names.split():
            assert getattr(module, name) is getattr(import_module(new), name), f"{new}.{name}"


def test_saved_network_loads_and_goes_on_training():
    saved = torch.load(SAVED, weights_only=False)
    net = saved["net"]
    optimizer = QPSBGD(net.parameters())
    optimizer.load_state_dict(saved["optimizer"])
    nn.functional.cross_entropy(net(saved["x"]), saved["y"]).backward()
    optimizer.step()
    torch.testing.assert_close(dict(net.state_dict()), dict(saved["after"]))


def test_saved_weights_are_binary_weights_still():
    net = torch.load(SAVED, weights_only=False)["net"]
    fresh = BinaryLinear(8, 3).weight
    assert [type(net[layer].weight) for layer in (0, 3)] == [type(fresh)] * 2
    assert not torch.equal(net[3].weight, net[3].weight.sign())  # the latent ones


def test_saved_weights_name_a_path_that_stays():
    """Files are named nowhere in what is saved: they may be cut otherwise in the next version."""
    content = pickle.dumps(BinaryLinear(8, 3).weight, protocol=2)
    globals_ = [argument for code, argument, _ in pickletools.genops(content) if code.name == "GLOBAL"]
    assert [one for one in globals_ if one.startswith("qpsbgd")] == ["qpsbgd.capture _rebuild"]
