"""Experts of Hugging Face Transformers models on vernier, weights kept."""

from __future__ import annotations

import torch.distributed as dist
from torch import nn

from .experts import GroupedExperts
from .policy import Policy, policy_of


def replace_experts(model: nn.Module, policy: Policy | str = "mxfp4", group: dist.ProcessGroup | None = None) -> list[str]:
    """Puts `GroupedExperts` in the place of every stack of SwiGLU experts of a model, with the very same parameters.

    A stack is found by what it is: parameters `gate_up_proj` [E, 2I, H] and `down_proj` [E, H, I], without biases, called with
    (hidden_states, top_k_index, top_k_weights). So Mixtral, Qwen3-MoE and DeepSeek-V3 of Transformers 5 keep them. Names and
    layouts of weights stay, so that checkpoints load and save as before; optimisers made before go on.

    Args:
        model: changed in place.
        policy: a `Policy`, "bf16", "fp8" or "mxfp4".
        group: expert parallelism: every rank then keeps its own part of the experts, as new parameters.

    Returns:
        The names of the modules replaced.

    Raises:
        ValueError: the model has no such experts, or they are not SwiGLU, or not of sizes that are multiples of 128.
    """
    policy = policy_of(policy)
    replaced, refused = [], []
    for name, module in list(model.named_modules()):
        parameters = dict(module.named_parameters(recurse=False))
        if not {"gate_up_proj", "down_proj"} <= parameters.keys() or isinstance(module, GroupedExperts):
            continue
        reason = _refusal(module, parameters)
        if reason:
            refused.append(f"{name} ({reason})")
            continue
        first, second = parameters["gate_up_proj"], parameters["down_proj"]
        total, hidden, intermediate = second.shape
        if group is not None:
            ranks, rank = dist.get_world_size(group), dist.get_rank(group)
            mine = slice(rank * total // ranks, (rank + 1) * total // ranks)
            first, second = (nn.Parameter(p.data[mine].clone(), p.requires_grad) for p in (first, second))
        experts = GroupedExperts(hidden, intermediate, total, policy=policy, group=group, parameters=(first, second))
        experts.train(module.training)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, experts)
        replaced.append(name)
    if refused or not replaced:
        raise ValueError(
            "no experts that can be replaced: " + ("; ".join(refused) or "no module has gate_up_proj and down_proj")
        )
    return replaced


def _refusal(module: nn.Module, parameters: dict[str, nn.Parameter]) -> str:
    first, second = parameters["gate_up_proj"], parameters["down_proj"]
    if len(parameters) > 2:
        return "has more parameters: " + ", ".join(sorted(parameters.keys() - {"gate_up_proj", "down_proj"}))
    if first.ndim != 3 or second.ndim != 3 or first.shape[1] != 2 * second.shape[2] or first.shape[2] != second.shape[1]:
        return f"weights of shapes {tuple(first.shape)} and {tuple(second.shape)}"
    act = getattr(module, "act_fn", None)
    if act is not None and type(act).__name__ not in ("SiLU", "SiLUActivation"):
        return f"activation {type(act).__name__}, not silu"
    if second.shape[1] % 128 or second.shape[2] % 128:
        return f"hidden {second.shape[1]} and intermediate {second.shape[2]} are not multiples of 128"
    return ""
