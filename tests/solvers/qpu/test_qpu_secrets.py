"""Secrets leave a QPU solver by no way: not in messages, exceptions, warnings, logs or pickles."""

import base64
import copy
import http.client
import logging
import pickle
import socket
import ssl
from dataclasses import replace

import numpy as np
import pytest
import requests
import urllib3
from dwave.cloud.exceptions import SolverAuthenticationError

from qpsbgd.solvers import NativeSolver, QPUSolver
from qpsbgd.solvers.qpu import QPUConfigError, QPUError, QPUFallbackWarning, QPUUnreachableError
from qpsbgd.solvers.qpu.retry import is_device_failure, is_transient
from qpsbgd.solvers.qpu.secrecy import Secrets
from qpu_samplers import QUICK, ScriptedQPU, layer, mock

TOKEN = "DEV-0123456789abcdef"
CONFIGS = [
    {"token": TOKEN},
    {"token": "other-token", "headers": {"X-Auth-Token": TOKEN}},
    {"token": "other-token", "headers": f"X-Auth-Token: {TOKEN}\nX-Other: 1"},
    {"token": "other-token", "proxy": f"http://me:{TOKEN}@proxy.example:3128"},
    {"defaults": {"token": TOKEN, "solver": "Advantage"}},
    {"token": "other-token", "defaults": {"headers": {"Authorization": f"Bearer {TOKEN}"}}},
    {"token": "other-token", "endpoint": f"https://me:{TOKEN}@cloud.example/sapi"},
    {"token": "other-token", "some_later_setting": TOKEN},
]


@pytest.fixture(params=CONFIGS, ids=lambda config: "-".join(config))
def config(request):
    return request.param


def chain(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def assert_clean(error):
    for link in chain(error):
        assert TOKEN not in str(link)
        assert TOKEN not in repr(link.args)
        assert not Secrets({"token": TOKEN}).are_in(link)


def test_pickles_and_representations_hold_no_secret(config):
    solver = QPUSolver(config={**config, "solver": "Advantage", "profile": "mine"}, **QUICK)
    assert TOKEN.encode() not in pickle.dumps(solver)
    assert TOKEN not in repr(solver)
    assert TOKEN not in repr(solver.options)
    kept = pickle.loads(pickle.dumps(solver))._session._config
    assert kept == {"solver": "Advantage", "profile": "mine"}
    # A copy in this process goes on with the same settings.
    assert copy.deepcopy(solver)._session._config == solver._session._config


@pytest.mark.parametrize("kind", [SolverAuthenticationError, ValueError, ConnectionError])
def test_failure_to_open_shows_no_secret(monkeypatch, caplog, config, kind):
    def refuse(**given):
        raise kind(f"cannot open with {given}") from RuntimeError(f"cause {given}")

    monkeypatch.setattr("dwave.system.DWaveSampler", refuse)
    solver = QPUSolver(config=config, **QUICK, max_retries=0)
    with caplog.at_level(logging.DEBUG), pytest.raises(QPUConfigError) as caught:
        solver.solve(layer(), seed=0)
    assert_clean(caught.value)
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("kind", [ConnectionError, SolverAuthenticationError, ZeroDivisionError])
def test_failures_of_submissions_show_no_secret(monkeypatch, caplog, config, kind):
    def with_causes():
        error = kind(f"sent {TOKEN}", {"headers": [TOKEN]})
        error.__cause__ = RuntimeError(TOKEN)
        return error

    qpu = ScriptedQPU([with_causes() for _ in range(2)])
    monkeypatch.setattr("dwave.system.DWaveSampler", lambda **given: qpu)
    solver = QPUSolver(config=config, **QUICK, max_retries=1)
    with caplog.at_level(logging.DEBUG), pytest.raises(QPUError) as caught:
        solver.solve(layer(), seed=0)
    assert_clean(caught.value)
    assert TOKEN not in caplog.text


def test_secret_in_an_attribute_of_a_programs_mistake_is_found(monkeypatch):
    error = ZeroDivisionError("no secret in the message")
    error.request = requests.Request("GET", "https://example", headers={"X-Auth-Token": TOKEN}).prepare()
    qpu = ScriptedQPU([error])
    monkeypatch.setattr("dwave.system.DWaveSampler", lambda **given: qpu)
    with pytest.raises(QPUError, match="ZeroDivisionError: no secret") as caught:
        QPUSolver(config={"token": TOKEN}, **QUICK).solve(layer(), seed=0)
    assert_clean(caught.value)


def test_fallback_warning_shows_no_secret(monkeypatch, config):
    qpu = ScriptedQPU([ConnectionError(f"proxy saw {TOKEN}")])
    monkeypatch.setattr("dwave.system.DWaveSampler", lambda **given: qpu)
    solver = QPUSolver(config=config, **QUICK, max_retries=0, fallback="native")
    with pytest.warns(QPUFallbackWarning, match=r"proxy saw \*\*\*"):
        solver.solve(layer(), seed=0)


def test_secrets_of_a_given_sampler_are_taken_out():
    class Client:
        token = TOKEN

    qpu = ScriptedQPU([ConnectionError(f"refused {TOKEN}")])
    qpu.client = Client()
    with pytest.raises(QPUError, match=r"refused \*\*\*") as caught:
        QPUSolver(qpu, **QUICK, max_retries=0).solve(layer(), seed=0)
    assert_clean(caught.value)


def test_encoded_forms_are_taken_out_too():
    secrets = Secrets({"proxy": "http://me:pass word/1@proxy:1"})
    basic = base64.b64encode(b"me:pass word/1").decode()
    for form in ("me:pass word/1", "me%3Apass%20word%2F1", "me%3Apass+word%2F1", basic):
        assert secrets.redacted(f"a {form} b") == "a *** b"


def test_configuration_file_that_cannot_be_read_is_not_shown(tmp_path):
    path = tmp_path / "dwave.conf"
    path.write_text(f"[defaults]\nthis line has {TOKEN}\n")
    with pytest.raises(QPUConfigError, match="configuration cannot be read") as caught:
        QPUSolver(config={"config_file": str(path)}, **QUICK).solve(layer(), seed=0)
    assert_clean(caught.value)


# --- every failure of the network is one of the device

NETWORK = [
    ssl.SSLError("handshake"),
    ssl.SSLCertVerificationError("certificate"),
    socket.gaierror(-2, "Name or service not known"),
    socket.herror(1, "Unknown host"),
    OSError(101, "Network is unreachable"),
    OSError(113, "No route to host"),
    http.client.IncompleteRead(b""),
    http.client.RemoteDisconnected("closed"),
    requests.exceptions.SSLError("handshake"),
    requests.exceptions.ProxyError("proxy"),
    requests.exceptions.ChunkedEncodingError("cut"),
    requests.exceptions.ContentDecodingError("garbage"),
    urllib3.exceptions.MaxRetryError(None, "/problems"),
    urllib3.exceptions.ProtocolError("aborted"),
    urllib3.exceptions.ReadTimeoutError(None, "/problems", "slow"),
    urllib3.exceptions.NewConnectionError(None, "refused"),
    urllib3.exceptions.SSLError("handshake"),
]


@pytest.mark.parametrize(
    "error", NETWORK, ids=lambda error: f"{type(error).__module__}-{type(error).__name__}"
)
def test_network_failures_are_tried_again_and_fall_back(error):
    assert is_transient(error)
    assert is_device_failure(error)
    qpu = ScriptedQPU([error])
    QPUSolver(qpu, **QUICK).solve(layer(), seed=0)
    assert len(qpu.models) == 2
    solver = QPUSolver(ScriptedQPU([error] * 2), **QUICK, max_retries=1, fallback="native")
    with pytest.warns(QPUFallbackWarning):
        assert solver.solve(layer(), seed=0).info["qpu"]["fallback_rows"] == 5


def test_missing_files_are_no_network_failure():
    assert not is_device_failure(FileNotFoundError(2, "no such file"))


def open_by(monkeypatch, script):
    script = list(script)

    def opened(**given):
        line = script.pop(0) if script else None
        if line is not None:
            raise line
        return mock()

    monkeypatch.setattr("dwave.system.DWaveSampler", opened)
    return script


def test_opening_is_tried_again(monkeypatch):
    open_by(monkeypatch, NETWORK[:3])
    solver = QPUSolver(config={"token": TOKEN}, **QUICK, max_retries=3)
    assert solver.solve(layer(), seed=0).info["qpu"]["fallback_rows"] == 0


def test_network_that_stays_away_is_one_clear_error(monkeypatch):
    open_by(monkeypatch, [socket.gaierror(-2, "Name or service not known")] * 9)
    solver = QPUSolver(config={"token": TOKEN}, **QUICK, max_retries=2)
    with pytest.raises(QPUUnreachableError, match="no QPU could be opened"):
        solver.solve(layer(), seed=0)


@pytest.mark.parametrize("starts", [False, True])
def test_native_solver_answers_until_the_network_is_back(monkeypatch, starts):
    script = open_by(monkeypatch, [ssl.SSLError("handshake")] * 3)  # one for the budget
    solver = QPUSolver(
        config={"token": TOKEN}, **QUICK, max_retries=0, fallback="native", max_qpu_seconds=1.0
    )
    problem = layer(starts=starts)
    solver.check_budget([problem])
    with pytest.warns(QPUFallbackWarning, match="the native solver answers instead"):
        answers = [solver.solve(problem, seed=0) for _ in range(3)]
    assert not script
    assert [answer.info["qpu"]["fallback_rows"] for answer in answers] == [5, 5, 0]
    assert solver.report.fallback_rows == 10
    exact = NativeSolver(method="exact").solve(replace(problem, initial_states=None), seed=0)
    for answer in answers[:2]:
        assert answer.samples.shape == answers[2].samples.shape
        np.testing.assert_allclose(answer.best_energies, exact.best_energies)
        np.testing.assert_allclose(answer.energies, problem.energies(answer.samples))
