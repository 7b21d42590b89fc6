"""Exported networks compute what the trained one computes, and their files hold one bit a weight."""

import copy
import io
import json

import numpy as np
import pytest
import torch
from torch import nn

from qpsbgd import QPSBGD
from qpsbgd.data.reading import BrokenFileError
from qpsbgd.export import PackedLinear, binary_weights, load_packed, save_packed, to_packed, to_plain
from qpsbgd.export.bits import pack_signs, unpack_signs
from qpsbgd.nn import BinaryActivation, BinaryConv2d, BinaryGCNConv, BinaryLinear, Scale


def trained(*layers, inputs):
    """A network after some steps, so that batch norms and biases hold numbers of their own."""
    torch.manual_seed(0)
    model = nn.Sequential(*layers)
    optimizer = QPSBGD(model.parameters(), lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()
    return model.eval()


def mlp():
    return trained(
        BinaryLinear(37, 50, bias=True),
        nn.BatchNorm1d(50),
        BinaryActivation(),
        BinaryLinear(50, 10),
        Scale(),
        inputs=torch.randn(32, 37),
    )


def cnn():
    return trained(
        BinaryConv2d(1, 6, 3, padding=1, bias=True),
        nn.BatchNorm2d(6),
        BinaryActivation(),
        nn.Flatten(),
        BinaryLinear(6 * 64, 5),
        inputs=torch.randn(16, 1, 8, 8),
    )


def signs(*shape):
    return torch.randint(2, shape).float() * 2 - 1


class TestBits:
    @pytest.mark.parametrize("d", [1, 7, 8, 9, 31, 32, 33, 1000])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int8])
    def test_signs_come_back(self, d, dtype):
        weight = signs(3, d).to(dtype)
        bits = pack_signs(weight)
        assert bits.shape == (3, (d + 7) // 8)
        assert bits.dtype == torch.uint8
        assert torch.equal(unpack_signs(bits, d, dtype), weight)

    def test_weights_are_those_that_the_layer_multiplies_by(self):
        layer = BinaryLinear(5, 4).eval()
        with torch.no_grad():
            layer.weight.data[0, :3] = torch.tensor([0.0, -0.0, -1e-30])
            columns = layer(torch.eye(5)).T * 5**0.5
        (found,) = binary_weights(nn.Sequential(layer)).values()
        assert found.dtype == torch.int8
        assert torch.allclose(found.float(), columns)
        assert found[0, :3].tolist() == [1, 1, -1]

    def test_names_are_those_of_the_state_dict(self):
        model = cnn()
        assert list(binary_weights(model)) == ["0.weight", "4.weight"]
        assert set(binary_weights(model)) <= set(model.state_dict())

    def test_nan_has_no_sign(self, tmp_path):
        model = nn.Sequential(BinaryLinear(2, 2))
        model[0].weight.data[0, 0] = float("nan")
        for call in (binary_weights, to_packed, to_plain, lambda net: save_packed(net, tmp_path / "net")):
            with pytest.raises(ValueError, match=r"0\.weight holds NaN"):
                call(model)

    @pytest.mark.parametrize("call", [binary_weights, to_packed, to_plain])
    def test_model_must_be_a_module(self, call):
        with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, but is dict"):
            call({})


class TestPackedLinear:
    @pytest.mark.parametrize("d", [1, 5, 32, 33, 511, 1000])
    @pytest.mark.parametrize("samples", [0, 1, 3, 8, 9, 100])
    def test_products_of_signs_are_exact(self, d, samples):
        layer = BinaryLinear(d, 300, bias=True).eval()
        inputs = signs(samples, d)
        with torch.no_grad():
            assert torch.equal(to_packed(layer)(inputs), layer(inputs))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
    @pytest.mark.parametrize("shape", [(70,), (2, 70), (4, 5, 70)])
    def test_products_of_numbers(self, dtype, shape):
        layer = BinaryLinear(70, 30).eval().to(dtype)
        inputs = torch.randn(shape, dtype=dtype)
        with torch.no_grad():
            found, expected = to_packed(layer)(inputs), layer(inputs)
        assert found.dtype == dtype
        assert found.shape == expected.shape
        torch.testing.assert_close(
            found, expected, atol=2e-2 if dtype in (torch.bfloat16, torch.float16) else 1e-5, rtol=2e-2
        )

    def test_samples_that_are_not_finite_pass_through(self):
        layer = BinaryLinear(3, 2).eval()
        layer.weight.data[:] = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 1.0]])
        inputs = torch.tensor([[float("inf"), 1.0, 1.0], [float("nan"), 1.0, 1.0], [float("inf")] * 3])
        found = to_packed(layer)(inputs)
        assert found[0].tolist() == [float("inf")] * 2
        assert found[1].isnan().all()
        assert found[2, 0] == float("inf")
        assert found[2, 1].isnan()

    def test_same_numbers_for_every_number_of_threads(self):
        packed = to_packed(BinaryLinear(700, 3000))
        inputs = torch.randn(4, 700)
        before = torch.get_num_threads()
        try:
            found = []
            for threads in (1, 2, 5):
                torch.set_num_threads(threads)
                found.append(packed(inputs))
        finally:
            torch.set_num_threads(before)
        assert torch.equal(found[0], found[1])
        assert torch.equal(found[0], found[2])

    def test_memory_is_one_bit_a_weight(self):
        packed = to_packed(BinaryLinear(4096, 64))
        held = sum(tensor.numel() * tensor.element_size() for tensor in packed.state_dict().values())
        assert held == 4096 * 64 // 8
        assert not list(packed.parameters())

    def test_gradient_is_refused(self):
        packed = to_packed(BinaryLinear(3, 2))
        with pytest.raises(RuntimeError, match="no gradient"):
            packed(torch.ones(1, 3, requires_grad=True))

    def test_wrong_width_is_torch_s_own_error(self):
        with pytest.raises(RuntimeError):
            to_packed(BinaryLinear(3, 2))(torch.ones(2, 4))


class TestNetworks:
    @pytest.mark.parametrize(("make", "shape"), [(mlp, (20, 37)), (cnn, (3, 1, 8, 8))])
    @pytest.mark.parametrize("change", [to_packed, to_plain])
    def test_outputs_are_equal(self, make, shape, change):
        model = make()
        state = copy.deepcopy(model.state_dict())
        inputs = torch.randn(shape)
        with torch.no_grad():
            torch.testing.assert_close(change(model)(inputs), model(inputs))
        assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())

    def test_plain_network_knows_nothing_of_this_package(self):
        plain = to_plain(cnn())
        assert {type(layer) for layer in plain.modules()} == {
            nn.Sequential,
            nn.Conv2d,
            nn.BatchNorm2d,
            nn.Flatten,
            nn.Linear,
            type(plain[2]),
        }
        assert all(type(parameter) is nn.Parameter for parameter in plain.parameters())
        plain(torch.randn(2, 1, 8, 8)).sum().backward()  # and trains as any other
        assert plain[4].weight.grad is not None

    @pytest.mark.parametrize("change", [to_packed, to_plain])
    def test_ties_and_hooks_stay(self, change):
        first, second = BinaryLinear(6, 6), BinaryLinear(6, 6)
        second.weight = first.weight
        model = nn.Sequential(first, second, first)
        calls = []
        first.register_forward_hook(lambda *_: calls.append(1))
        changed = change(model)
        assert changed[0] is changed[2]
        with torch.no_grad():
            torch.testing.assert_close(changed(torch.ones(1, 6)), model.eval()(torch.ones(1, 6)))
        assert len(calls) == 4
        if change is to_plain:
            assert changed[0].weight is changed[1].weight

    def test_layer_that_torch_has_not_is_named(self):
        with pytest.raises(TypeError, match="'0', a BinaryGCNConv, which has no form in torch"):
            to_plain(nn.Sequential(BinaryGCNConv(3, 2)))

    @pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")  # torch's own
    def test_onnx_runtime_gives_the_same_numbers(self, tmp_path):
        onnxruntime = pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
        model, inputs = cnn(), torch.randn(4, 1, 8, 8)
        file = tmp_path / "net.onnx"
        torch.onnx.export(to_plain(model), (inputs,), file, dynamo=True, verbose=False)
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(found, model(inputs).numpy(), atol=1e-5)


class TestFiles:
    @pytest.mark.parametrize("make", [mlp, cnn])
    def test_network_comes_back(self, make, tmp_path):
        model, other = make(), make()
        for parameter in other.parameters():
            parameter.data.uniform_(-1, 1)
        save_packed(model, tmp_path / "net.safetensors")
        assert load_packed(tmp_path / "net.safetensors", other) is other
        for name, value in model.state_dict().items():
            value = value.as_subclass(torch.Tensor)
            expected = torch.where(value >= 0, 1.0, -1.0) if name in binary_weights(model) else value
            assert torch.equal(other.state_dict()[name].as_subclass(torch.Tensor), expected), name

    def test_file_holds_one_bit_a_weight(self, tmp_path):
        model = nn.Sequential(BinaryLinear(784, 512, bias=False))
        size = save_packed(model, tmp_path / "net")
        assert size == (tmp_path / "net").stat().st_size
        assert 784 * 512 // 8 <= size < 784 * 512 // 8 + 300
        plain = io.BytesIO()
        torch.save(model.state_dict(), plain)
        assert len(plain.getvalue()) > 31 * size

    def test_any_reader_of_safetensors_reads_it(self, tmp_path):
        from safetensors import safe_open

        model = mlp()
        save_packed(model, tmp_path / "net")
        with safe_open(tmp_path / "net", framework="np") as file:
            shapes = json.loads(file.metadata()["qpsbgd"])["binary"]
            bits = np.unpackbits(file.get_tensor("0.weight"), bitorder="little")
        weight = binary_weights(model)["0.weight"].numpy()
        assert shapes["0.weight"] == [50, 37]
        assert (1 - 2 * bits[: weight.size].astype(int) == weight.ravel()).all()

    def test_file_of_other_layers_changes_nothing(self, tmp_path):
        save_packed(nn.Sequential(BinaryLinear(4, 3)), tmp_path / "net")
        for other, message in [
            (nn.Sequential(BinaryLinear(4, 3, bias=True)), r"lacks tensors of the model: 0\.bias"),
            (nn.Sequential(nn.Identity()), r"holds tensors that the model has not: '0\.weight'"),
            (nn.Sequential(nn.Linear(4, 3, bias=False)), r"holds binary weights that the model has not"),
            (nn.Sequential(BinaryLinear(3, 4)), r"holds 0\.weight as \(3, 4\), but the model's is \(4, 3\)"),
        ]:
            before = copy.deepcopy(other.state_dict())
            with pytest.raises(BrokenFileError, match=message):
                load_packed(tmp_path / "net", other)
            assert all(torch.equal(value, other.state_dict()[name]) for name, value in before.items())

    def test_broken_files_are_refused(self, tmp_path):
        model = nn.Sequential(BinaryLinear(40, 30))
        save_packed(model, tmp_path / "net")
        whole = (tmp_path / "net").read_bytes()
        header = int.from_bytes(whole[:8], "little")
        for number, content in enumerate(
            [
                b"",
                whole[:20],
                whole[:-1],
                whole + b"\0",
                b"\xff" * 8 + whole[8:],
                whole[:8] + b"[" * header + whole[8 + header :],
                whole.replace(b'\\"format\\":1', b'\\"format\\":2').replace(
                    b'\\"format\\": 1', b'\\"format\\": 2'
                ),
                whole.replace(b"[30, 40]", b"[30, 39]"),
                whole.replace(b"[30, 40]", b"[-3, 40]"),
                whole.replace(b"[30, 40]", b"[1e9,40]"),
            ]
        ):
            assert content != whole
            file = tmp_path / f"broken{number}"
            file.write_bytes(content)
            before = model[0].weight.data.clone()
            with pytest.raises(BrokenFileError, match=f"broken{number}"):
                load_packed(file, model)
            assert torch.equal(before, model[0].weight.data)
        with pytest.raises(FileNotFoundError):
            load_packed(tmp_path / "absent", model)

    def test_state_that_is_no_tensor_is_refused(self, tmp_path):
        class WithState(nn.Module):
            def get_extra_state(self):
                return {"a": 1}

            def set_extra_state(self, state):
                pass

        with pytest.raises(TypeError, match="_extra_state of the state dict is dict"):
            save_packed(WithState(), tmp_path / "net")
        assert not list(tmp_path.iterdir())

    def test_packed_network_goes_through_a_state_dict(self):
        model = mlp()
        packed, other = to_packed(model), to_packed(mlp())
        for layer in other.modules():
            if isinstance(layer, PackedLinear):
                layer.bits.zero_()
        other.load_state_dict(packed.state_dict())
        inputs = torch.randn(5, 37)
        with torch.no_grad():
            assert torch.equal(other(inputs), packed(inputs))
