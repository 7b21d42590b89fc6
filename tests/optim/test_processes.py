"""Several processes with the same weights keep them, or are told."""

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from process_groups import assert_equal_weights, in_processes, weights
from qpsbgd.nn import Activated, BinaryConv2d, BinaryLinear, to_recorded
from qpsbgd.optim import QPSBGD
from training import batches, small_net, train


def two_layers():
    torch.manual_seed(5)
    return nn.Sequential(BinaryLinear(6, 5), nn.Tanh(), BinaryLinear(5, 3)).double()


def shares(sizes, steps=4):
    """Batches of given sizes for every process, and all of them together."""
    generator = torch.Generator().manual_seed(7)
    for _ in range(steps):
        x = torch.randn(sum(sizes), 6, generator=generator).double()
        yield x, (x[:, :3] + 0.3 * x[:, 3:]).argmax(dim=1)


def part_of(x, sizes, rank):
    return x[sum(sizes[:rank]) : sum(sizes[: rank + 1])]


OPTIONS = [
    {},
    {"memory": "momentum"},
    {"variant": "projected"},
    {"scale": "raw"},
    {"process_group": "world"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("wrapped", [False, True])
def test_the_default_takes_the_step_of_the_whole_batch(tmp_path, options, wrapped):
    sizes = (8, 8)

    def half(rank):
        model = two_layers()
        loop = DistributedDataParallel(model) if wrapped else model
        data = [(part_of(x, sizes, rank), part_of(y, sizes, rank)) for x, y in shares(sizes)]
        given = {"process_group": distributed.group.WORLD} if "process_group" in options else options
        train(loop, QPSBGD(model.parameters(), **given), data)
        return weights(model)

    results, errors = in_processes(tmp_path, half)
    assert errors == [None, None]
    assert_equal_weights(results)
    model = two_layers()
    alone = {} if "process_group" in options else options
    train(model, QPSBGD(model.parameters(), **alone), shares(sizes))
    for one, whole in zip(results[0], weights(model), strict=True):
        assert one == pytest.approx(whole, abs=1e-9)


def test_a_flatter_spectrum_is_that_of_all_rows(tmp_path):
    sizes = (8, 8)

    def real_layers():
        torch.manual_seed(5)
        return to_recorded(nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double())

    def half(rank):
        model = real_layers()
        data = [(part_of(x, sizes, rank), part_of(y, sizes, rank)) for x, y in shares(sizes)]
        train(model, QPSBGD(model.parameters(), singular_power=0.5), data)
        return weights(model)

    results, errors = in_processes(tmp_path, half)
    assert errors == [None, None]
    assert_equal_weights(results)
    model = real_layers()
    train(model, QPSBGD(model.parameters(), singular_power=0.5), shares(sizes))
    for one, whole in zip(results[0], weights(model), strict=True):
        assert one == pytest.approx(whole, abs=1e-9)


def test_uneven_and_empty_shares_weigh_by_their_samples(tmp_path):
    sizes = (5, 0, 11)

    def share(rank):
        model = two_layers()
        optimizer = QPSBGD(model.parameters())
        seen = []
        optimizer.register_projection_hook(
            lambda shown: seen.append((shown.options["num_samples"], shown.A, shown.p))
        )
        for x, y in shares(sizes, steps=1):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(
                model(part_of(x, sizes, rank)), part_of(y, sizes, rank), reduction="sum"
            )
            (loss * 3 / sum(sizes)).backward()  # the mean over processes is that of the whole batch
            optimizer.step()
        return weights(model), [(count, A, p.numpy()) for count, A, p in seen]

    results, errors = in_processes(tmp_path, share, size=3)
    assert errors == [None] * 3
    assert_equal_weights([found for found, _ in results])
    assert {count for _, seen in results for count, *_ in seen} == {16}
    model = two_layers()
    whole = []
    optimizer = QPSBGD(model.parameters())
    optimizer.register_projection_hook(lambda shown: whole.append((shown.A, shown.p)))
    train(model, optimizer, shares(sizes, steps=1))
    for (_, A, p), (expected_A, expected_p) in zip(results[1][1], whole, strict=True):
        assert pytest.approx(expected_A) == A
        assert pytest.approx(expected_p.numpy()) == p


def test_each_process_may_use_another_layer(tmp_path):
    def one_layer(rank):
        torch.manual_seed(5)
        layers = nn.ModuleList([BinaryLinear(6, 4), BinaryLinear(6, 4), BinaryConv2d(2, 4, 2, groups=2)])
        optimizer = QPSBGD(layers.parameters())
        for step in range(3):
            torch.manual_seed(100 * rank + step)
            optimizer.zero_grad()
            if rank == 2:
                layers[2](torch.randn(3, 2, 4, 4)).square().mean().backward()
            else:
                layers[rank](torch.randn(8, 6)).square().mean().backward()
            optimizer.step()
        return weights(layers)

    results, errors = in_processes(tmp_path, one_layer, size=3)
    assert errors == [None] * 3
    assert_equal_weights(results)
    torch.manual_seed(5)
    start = weights(nn.ModuleList([BinaryLinear(6, 4), BinaryLinear(6, 4), BinaryConv2d(2, 4, 2, groups=2)]))
    assert all((before != after).any() for before, after in zip(start, results[0], strict=True))


def test_process_without_a_gradient_goes_along(tmp_path):
    def sometimes(rank):
        model = small_net()
        optimizer = QPSBGD(model.parameters())
        for number, (x, y) in enumerate(batches(4)):
            optimizer.zero_grad()
            if rank == 0 or number % 2:
                nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
        # Batch norm's statistics are each process's own.
        return weights(model)

    results, errors = in_processes(tmp_path, sometimes)
    assert errors == [None, None]
    assert_equal_weights(results)


def test_slopes_of_idle_processes_are_not_needed(tmp_path):
    def sometimes(rank):
        torch.manual_seed(3)
        model = Activated(BinaryLinear(6, 4), nn.Tanh())
        optimizer = QPSBGD(model.parameters(), jacobian="post-activation")
        if rank == 0:
            model(torch.randn(5, 6)).square().mean().backward()
        optimizer.step()
        return weights(model)

    results, errors = in_processes(tmp_path, sometimes)
    assert errors == [None, None]
    assert_equal_weights(results)


def test_weights_that_differ_are_refused_everywhere(tmp_path):
    def apart(rank):
        torch.manual_seed(rank)
        layer = BinaryLinear(6, 4)
        optimizer = QPSBGD(layer.parameters())
        layer(torch.randn(3, 6)).sum().backward()
        optimizer.step()

    _, errors = in_processes(tmp_path, apart)
    assert all("parameter 0 of shape (4, 6) differs between processes" in error for error in errors)


def test_independent_processes_train_apart(tmp_path):
    def apart(rank):
        torch.manual_seed(rank)
        layer = BinaryLinear(6, 4)
        optimizer = QPSBGD(layer.parameters(), process_group="independent")
        x = torch.randn(3, 6)
        layer(x).sum().backward()
        optimizer.step()
        twin = BinaryLinear(6, 4)
        return weights(layer), x.numpy(), twin.weight.shape

    results, errors = in_processes(tmp_path, apart)
    assert errors == [None, None]
    assert (results[0][0][0] != results[1][0][0]).any()


def test_error_of_one_process_is_raised_in_all(tmp_path):
    def wrong_in_one(rank):
        torch.manual_seed(3)
        layer = BinaryLinear(6, 4)
        optimizer = QPSBGD(layer.parameters())
        before = layer.weight.detach().clone()
        if rank == 1:
            layer.eval()  # records nothing
        layer(torch.randn(3, 6)).sum().backward()
        try:
            optimizer.step()
        finally:
            assert torch.equal(layer.weight, before)

    _, errors = in_processes(tmp_path, wrong_in_one)
    assert "process 1 could not take the step" in errors[0]
    assert "no layer input was captured" in errors[1]


def test_gradient_that_is_not_finite_in_one_process_is_refused_in_all(tmp_path):
    def broken(rank):
        torch.manual_seed(3)
        layer = BinaryLinear(6, 4)
        optimizer = QPSBGD(layer.parameters())
        layer(torch.randn(3, 6)).sum().backward()
        if rank == 1:
            layer.weight.grad[0, 0] = float("nan")
        optimizer.step()

    _, errors = in_processes(tmp_path, broken)
    assert all("is not finite" in error for error in errors)


def test_sparse_gradient_of_one_process_is_refused_in_all(tmp_path):
    def sparse_in_one(rank):
        torch.manual_seed(3)
        layer, table = BinaryLinear(6, 4), nn.Embedding(5, 6, sparse=rank == 1)
        optimizer = QPSBGD([layer.weight, table.weight])
        layer(table(torch.tensor([1, 2, 3]))).sum().backward()
        optimizer.step()

    _, errors = in_processes(tmp_path, sparse_in_one)
    assert "process 1 could not take the step" in errors[0]
    assert "does not support sparse gradients" in errors[1]


def test_other_numbers_of_parameters_or_steps_are_refused(tmp_path):
    def more_in_one(rank):
        torch.manual_seed(3)
        layers = nn.ModuleList([BinaryLinear(6, 4) for _ in range(1 + rank)])
        optimizer = QPSBGD(layers.parameters())
        layers[0](torch.randn(3, 6)).sum().backward()
        optimizer.step()

    _, errors = in_processes(tmp_path, more_in_one)
    assert all("differ in their number of parameters: [1, 2]" in error for error in errors)

    def later_in_one(rank):
        torch.manual_seed(3)
        layer = BinaryLinear(6, 4)
        optimizer = QPSBGD(layer.parameters())
        optimizer.param_groups[0]["step"] = 3 * rank
        layer(torch.randn(3, 6)).sum().backward()
        optimizer.step()

    (tmp_path / "meeting").unlink(missing_ok=True)
    _, errors = in_processes(tmp_path, later_in_one)
    assert all("differ in their number of steps taken: [0, 3]" in error for error in errors)


def test_accumulation_without_synchronisation_sees_all_samples(tmp_path):
    def accumulated(rank):
        model = two_layers()
        wrapped = DistributedDataParallel(model)
        optimizer = QPSBGD(model.parameters())
        seen = []
        optimizer.register_projection_hook(lambda shown: seen.append(shown.options["num_samples"]))
        torch.manual_seed(rank)
        with wrapped.no_sync():
            wrapped(torch.randn(5, 6).double()).square().mean().backward()
        wrapped(torch.randn(7, 6).double()).square().mean().backward()
        optimizer.step()
        return weights(model), seen

    results, errors = in_processes(tmp_path, accumulated)
    assert errors == [None, None]
    assert_equal_weights([found for found, _ in results])
    assert [seen for _, seen in results] == [[24, 24], [24, 24]]


def test_bad_process_group_is_refused():
    with pytest.raises(ValueError, match="Invalid process_group: 'alone'"):
        QPSBGD([BinaryLinear(2, 2).weight], process_group="alone")
