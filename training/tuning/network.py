"""The network to tune: a pretrained body, a new head, and how fast each part learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import backbones
from backbones import registry
from likewise.config import FinetuneSection
from likewise.errors import UsageError, WeightsError

__all__ = [
    "Tunable",
    "build",
    "groups",
    "optimizer_for",
    "replace_head",
    "schedule_for",
    "swap_head",
    "train_mode",
]

HEAD_STD = 0.01


@dataclass(frozen=True)
class Tunable:
    """A network and the name of the layer that makes its logits."""

    network: nn.Module
    head: str


def build(backbone: str, classes: int, *, seed: int, random_weights: bool = False) -> Tunable:
    """The backbone with a fresh head of ``classes`` outputs, ready to be trained.

    Raises:
        WeightsError: the pretrained weights are missing or damaged.
    """
    network: nn.Module = backbones.load(backbone, random_weights=random_weights)
    torch.manual_seed(seed)
    return replace_head(network, classes, registry.get(backbone).input_size)


def replace_head(network: nn.Module, classes: int, size: int) -> Tunable:
    """Put a fresh linear layer in place of the one that makes the logits.

    It starts as Caffe's recipe has it: Gaussian weights of deviation 0.01, bias 0. Parameters that
    the logits do not depend on (auxiliary classifiers) are switched off. ``size`` is the side of
    the network's input, pixels.

    Raises:
        WeightsError: the network's answer does not come from a linear layer.
    """
    network.eval().requires_grad_(True)
    name = _last_linear(network, size)
    head = swap_head(network, name, classes)
    nn.init.normal_(head.weight, std=HEAD_STD)
    nn.init.zeros_(head.bias)
    _switch_off_unused(network, size)
    return Tunable(network, name)


def swap_head(network: nn.Module, name: str, classes: int) -> nn.Linear:
    """A linear layer of ``classes`` outputs where the one called ``name`` was."""
    old = network.get_submodule(name)
    assert isinstance(old, nn.Linear)
    head = nn.Linear(old.in_features, classes)
    network.set_submodule(name, head)
    return head


def _last_linear(network: nn.Module, size: int) -> str:
    outputs: dict[str, Tensor] = {}
    names = {module: name for name, module in network.named_modules()}

    def see(module: nn.Module, _inputs: object, output: Tensor) -> None:
        outputs[names[module]] = output

    handles = [m.register_forward_hook(see) for m in names if isinstance(m, nn.Linear)]
    try:
        with torch.no_grad():
            answer = network(torch.zeros(1, 3, size, size))
    finally:
        for handle in handles:
            handle.remove()
    for name, output in outputs.items():
        if output.data_ptr() == answer.data_ptr():
            return name
    raise WeightsError(f"{type(network).__name__}: its logits do not come from a linear layer")


def _switch_off_unused(network: nn.Module, size: int) -> None:
    torch.autograd.backward(network(torch.zeros(1, 3, size, size)).sum())
    for parameter in network.parameters():
        parameter.requires_grad_(parameter.grad is not None)
    network.zero_grad(set_to_none=True)


def groups(tunable: Tunable, recipe: FinetuneSection) -> list[dict[str, object]]:
    """Parameter groups: the head learns ``head_factor`` times faster, biases ``bias_factor`` times.

    Biases and norms do not decay.

    Raises:
        UsageError: ``[finetune] frozen`` names a module that the network does not have.
    """
    network = tunable.network
    known = dict(network.named_modules())
    if missing := [name for name in recipe.frozen if name not in known]:
        raise UsageError(
            f"[finetune] frozen names {missing[0]!r}, which the network does not have",
            hint=f"its first modules: {', '.join(name for name, _ in network.named_children())}",
        )
    head = {id(p) for p in network.get_submodule(tunable.head).parameters()}
    made: dict[tuple[bool, bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if (recipe.freeze and id(parameter) not in head) or _inside(name, recipe.frozen):
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            kind = (id(parameter) in head, parameter.ndim > 1, name.endswith("bias"))
            made.setdefault(kind, []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": recipe.learning_rate
            * (recipe.head_factor if is_head else 1.0)
            * (recipe.bias_factor if is_bias else 1.0),
            "weight_decay": recipe.weight_decay if decays else 0.0,
        }
        for (is_head, decays, is_bias), parameters in made.items()
    ]


def optimizer_for(tunable: Tunable, recipe: FinetuneSection) -> torch.optim.Optimizer:
    """SGD with momentum as in the paper, or AdamW."""
    parts = groups(tunable, recipe)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parts, lr=recipe.learning_rate, momentum=recipe.momentum)
    return torch.optim.AdamW(parts, lr=recipe.learning_rate)


def schedule_for(
    optimizer: torch.optim.Optimizer, recipe: FinetuneSection
) -> torch.optim.lr_scheduler.LRScheduler:
    """Times ``gamma`` every ``step`` iterations as in the paper, half a cosine to 0, or nothing."""
    if recipe.schedule == "plateau":  # the loop cuts the rate by itself
        return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    if recipe.schedule == "step":
        return torch.optim.lr_scheduler.StepLR(optimizer, recipe.step, recipe.gamma)
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.iterations)


def train_mode(network: nn.Module, recipe: FinetuneSection) -> None:
    """Training mode; what is frozen also keeps the statistics of its batch normalisation."""
    network.train()
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (
            recipe.freeze or _inside(name.removeprefix("module."), recipe.frozen)
        ):
            module.eval()


def _inside(name: str, modules: Sequence[str]) -> bool:
    """Whether a parameter or module is of one of these modules."""
    return any(name == module or name.startswith(f"{module}.") for module in modules)
