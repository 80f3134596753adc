"""The optimisers against their formulas, written out in NumPy, over several steps."""

import numpy as np
import pytest
import torch
from torch import nn

from repro.errors import InputError
from repro.training import optim


def formula(
    weights: list[np.ndarray],
    gradients: list[list[np.ndarray]],
    rates: list[float],
    decays: list[float],
):
    """The update of the docstring, tensor by tensor."""
    moments = [(np.zeros_like(w), np.zeros_like(w)) for w in weights]
    for step, rate in enumerate(rates):
        for k, decay in enumerate(decays):
            norm = np.linalg.norm(gradients[step][k])
            g = gradients[step][k] * min(1.0, 1.0 / (norm + 1e-6))
            m, v = moments[k]
            moments[k] = m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            weights[k] = weights[k] - rate * (m / (np.sqrt(v) + 1e-6) + decay * weights[k])
    return weights


def test_bertadam_follows_its_formula():
    rng = np.random.default_rng(0)
    model = nn.Linear(3, 2).double()
    start = [model.weight.detach().numpy().copy(), model.bias.detach().numpy().copy()]
    gradients = [
        [rng.normal(scale=scale, size=w.shape) for w in start]
        for scale in (0.01, 1.0, 30.0, 0.1, 5.0)
    ]
    rates = [1e-3 * optim.warmup_linear(step, 5) for step in range(5)]
    optimizer = optim.build("bertadam", model, 1e-3)
    for made, rate in zip(gradients, rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate
        model.weight.grad, model.bias.grad = map(torch.from_numpy, (made[0].copy(), made[1].copy()))
        optimizer.step()
    expected = formula(start, gradients, rates, [0.01, 0.0])  # no decay on the bias
    np.testing.assert_allclose(model.weight.detach().numpy(), expected[0], rtol=0, atol=1e-14)
    np.testing.assert_allclose(model.bias.detach().numpy(), expected[1], rtol=0, atol=1e-14)


def test_adamw_follows_its_formula_with_the_whole_gradient_clipped_first():
    rng, rate, model = np.random.default_rng(0), 1e-3, nn.Linear(3, 2).double()
    weights = [p.detach().numpy().copy() for p in model.parameters()]
    first, second = ([np.zeros_like(w) for w in weights] for _ in range(2))
    optimizer = optim.build("adamw", model, rate)
    for step, scale in enumerate((0.01, 30.0, 0.1, 5.0), start=1):
        gradients = [rng.normal(scale=scale, size=w.shape) for w in weights]
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
        norm = np.sqrt(sum((g**2).sum() for g in gradients))
        for k, decay in enumerate((0.01, 0.0)):  # no decay on the bias
            g = gradients[k] * min(1.0, 1.0 / (norm + 1e-6))
            first[k] = 0.9 * first[k] + 0.1 * g
            second[k] = 0.999 * second[k] + 0.001 * g * g
            m, v = first[k] / (1 - 0.9**step), second[k] / (1 - 0.999**step)
            weights[k] = weights[k] * (1 - rate * decay) - rate * m / (np.sqrt(v) + 1e-8)
    for parameter, expected in zip(model.parameters(), weights, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=0, atol=1e-12)


def test_schedule():
    factors = [optim.warmup_linear(step, 100) for step in range(101)]
    assert factors[0] == 0.0
    assert factors[5] == pytest.approx(0.5)
    assert factors[10] == pytest.approx(1.0)
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == 0.0


def test_unknown_optimizer():
    with pytest.raises(InputError, match="'sgd'; use one of: bertadam, adamw"):
        optim.build("sgd", nn.Linear(1, 1), 1.0)
