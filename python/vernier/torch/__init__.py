"""PyTorch layers with FP8 compute and MXFP4 for what is kept and sent.

from vernier.torch import MoE

layer = MoE(hidden=2048, intermediate=1408, experts=64, top_k=6, shared=2, policy="mxfp4", device="cuda")
y = layer(x)                                # [..., 2048] in float32 or bfloat16
layer.meter.kept                            # bytes kept for the backward pass
"""

from .exchange import Exchange, ExchangeError
from .experts import GroupedExperts, SharedExpert
from .huggingface import replace_experts
from .linear import Linear
from .moe import MoE, Router
from .packing import Meter
from .policy import BF16, FP8, MXFP4, POLICIES, Policy

__all__ = [
    "BF16", "FP8", "MXFP4", "POLICIES", "Exchange", "ExchangeError", "GroupedExperts", "Linear", "Meter", "MoE", "Policy", "Router",
    "SharedExpert", "replace_experts",
]  # fmt: skip
