"""The PyTorch layers: gradients, bytes, checkpoints, compilation, data and expert parallelism, Transformers models."""

import copy
import pickle

import pytest
import torch
import vernier as vn
from vernier.torch import POLICIES, GroupedExperts, Linear, MoE, Policy, SharedExpert, functions, replace_experts


@pytest.fixture
def device(request):
    return "cuda" if request.config.getoption("--device") == "cuda" else "cpu"


def experts_in_torch(x, choices, weights, w1, w2):
    y = torch.zeros_like(x)
    for e in range(w1.shape[0]):
        for j in range(choices.shape[1]):
            rows = choices[:, j] == e
            gate, up = (x[rows] @ w1[e].T).chunk(2, dim=1)
            y[rows] = y[rows] + weights[rows, j, None] * ((torch.nn.functional.silu(gate) * up) @ w2[e].T)
    return y


def drawn(tokens, hidden, experts, k, device, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(tokens, hidden, generator=generator).to(device, dtype).requires_grad_()
    choices = torch.stack([torch.randperm(experts, generator=generator)[:k] for _ in range(tokens)]).to(device)
    weights = torch.rand(tokens, k, generator=generator).to(device).requires_grad_()
    dy = torch.randn(tokens, hidden, generator=generator).to(device, dtype)
    return x, choices, weights, dy


def error(a, b):
    return float((a - b).detach().float().norm() / b.detach().float().norm())


@pytest.mark.parametrize("dtype", (torch.float32, torch.bfloat16))
@pytest.mark.parametrize(
    ("policy", "tolerance"),
    [
        ("bf16", 0.02),
        ("fp8", 0.11),
        ("mxfp4", 0.3),
        (Policy(gate_up="fp8"), 0.25),
        (Policy(gate_up="recompute"), 0.25),
        (Policy(rows="fp8", gate_up="bf16", hidden="recompute", gradients="bf16"), 0.11),
        (Policy(rows="bf16", gate_up="recompute", hidden="recompute"), 0.11),
        (Policy("bf16", "bf16", "recompute", "recompute", "bf16"), 0.02),
    ],
)
def test_gradients_of_the_experts(policy, tolerance, dtype, device):
    torch.manual_seed(0)
    x, choices, weights, dy = drawn(100, 128, 4, 2, device, dtype)
    layer = GroupedExperts(128, 256, 4, policy=policy, device=device)
    parameters = (layer.gate_up_proj, layer.down_proj)
    y = layer(x, choices, weights)
    assert y.dtype == dtype
    mine = torch.autograd.grad(y, (x, weights, *parameters), dy)
    expected = experts_in_torch(x.float(), choices, weights, *parameters)
    theirs = torch.autograd.grad(expected, (x, weights, *parameters), dy.float())
    for name, a, b in zip(("y", "dx", "dweights", "dw1", "dw2"), (y, *mine), (expected, *theirs), strict=True):
        # MXFP4 keeps about 19 dB, that is 11% of noise an operand; a routing weight's gradient has three of them.
        assert error(a, b) < tolerance, f"{name}: {error(a, b):.3f}"


@pytest.mark.parametrize(("policy", "tolerance"), [("bf16", 0.02), ("fp8", 0.11), ("mxfp4", 0.3)])
def test_gradients_of_a_shared_expert_and_of_a_linear_layer(policy, tolerance, device):
    torch.manual_seed(0)
    x, *_, dy = drawn(70, 128, 4, 2, device)
    expert = SharedExpert(128, 256, policy=policy, device=device)
    every = torch.zeros(70, 1, dtype=torch.int64, device=device)
    ones = torch.ones(70, 1, device=device)
    linear = Linear(128, 256, policy=policy, device=device)
    wide = torch.randn(70, 256, device=device)
    cases = (
        (expert(x), experts_in_torch(x, every, ones, expert.gate_up_proj, expert.down_proj), (x, *expert.parameters()), dy),
        (linear(x), x @ linear.weight.T, (x, linear.weight), wide),
    )
    for mine, theirs, leaves, gradient in cases:
        a, b = (torch.autograd.grad(v, leaves, gradient) for v in (mine, theirs))
        for left, right in zip((mine, *a), (theirs, *b), strict=True):
            assert error(left, right) < tolerance


@pytest.mark.parametrize(("experts", "n", "k"), [(1, 128, 256), (3, 256, 384), (16, 128, 128), (5, 384, 1152)])
def test_turned_weights_keep_their_bytes(experts, n, k, device):
    w = torch.randn(experts, n, k, device=device)
    fp8, half = functions.weight_copy(w, "fp8"), functions.weight_copy(w, "bf16")
    turned = functions.turned(fp8)
    assert turned.shape == (experts, k, n) and turned.format == fp8.format
    assert torch.equal(turned.payload, fp8.payload.transpose(1, 2)) and torch.equal(turned.scales, fp8.scales.transpose(1, 2))
    assert torch.equal(functions.turned(half), half.transpose(1, 2))


@pytest.mark.parametrize("policy", ("bf16", "fp8", "mxfp4"))
def test_kept_bytes(policy, device):
    x, choices, weights, _ = drawn(64, 256, 4, 2, device)
    layer = GroupedExperts(256, 128, 4, policy=policy, device=device)
    layer(x, choices, weights)
    element = {"bf16": 2, "fp8": 1 + 1 / 128, "mxfp4": 0.5 + 1 / 32}[policy]
    kept = 256 + (2 if policy == "fp8" else 3) * 128  # FP8 recomputes SwiGLU's result
    assert layer.meter.kept == 128 * (kept * element + 4)
    layer.meter.reset()
    with torch.no_grad():
        layer(x, choices, weights)
    assert layer.meter.kept == 0


def test_main_grad_accumulates_in_fp32_in_place(device):
    x, choices, weights, _ = drawn(64, 128, 4, 2, device)
    layer = GroupedExperts(128, 128, 4, dtype=torch.bfloat16, device=device)
    w1 = layer.gate_up_proj
    for w in layer.parameters():
        w.main_grad = torch.ones(w.shape, device=device)
    buffer = w1.main_grad
    layer(x, choices, weights).sum().backward()
    first = buffer.clone()
    assert w1.grad is None and float((first - 1).abs().max()) > 0
    layer(x, choices, weights).sum().backward()
    assert w1.main_grad is buffer
    torch.testing.assert_close(buffer - first, first - 1, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("tokens", (0, 1))
def test_few_tokens_and_experts_without_any(tokens, device):
    x, _, weights, _ = drawn(1, 128, 4, 2, device)
    x, weights = x[:tokens].detach().requires_grad_(), weights[:tokens].detach().requires_grad_()
    layer = GroupedExperts(128, 128, 4, device=device)
    y = layer(x, torch.full((tokens, 2), 3, device=device), weights)
    y.sum().backward()
    assert y.shape == (tokens, 128) and torch.isfinite(layer.gate_up_proj.grad).all()
    assert not layer.gate_up_proj.grad[:3].any() and x.grad.shape == x.shape


def test_checkpointing_keeps_nothing_and_changes_nothing(device):
    x, choices, weights, dy = drawn(100, 128, 4, 2, device)
    layer = GroupedExperts(128, 128, 4, device=device)
    kept = []

    def note(tensor):
        kept.append(tensor.numel() * tensor.element_size())
        return tensor

    def gradients(run):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
            y = run(x, choices, weights)
        return torch.autograd.grad(y, (x, weights, *layer.parameters()), dy), sum(kept)

    whole, most = gradients(layer)
    again, least = gradients(lambda *args: torch.utils.checkpoint.checkpoint(layer, *args, use_reentrant=False))
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))
    assert least < most / 4 and most >= layer.meter.kept // 3


def test_under_torch_compile(device):
    layer = MoE(128, 128, 4, 2, shared=1, device=device)
    x = torch.randn(2, 30, 128, device=device, requires_grad=True)
    expected = torch.autograd.grad(layer(x).square().sum(), (x, *layer.parameters()))
    compiled = torch.compile(layer, backend="aot_eager")
    actual = torch.autograd.grad(compiled(x).square().sum(), (x, *layer.parameters()))
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_copies_after_a_call(device):
    layer = MoE(128, 128, 4, 2, shared=1, device=device)
    x = torch.randn(20, 128, device=device)
    y = layer(x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(other(x), y) and not any(a is b for a, b in zip(other.parameters(), layer.parameters(), strict=True))


@pytest.mark.parametrize("frozen", ("weights", "inputs", "routing weights"))
def test_only_what_needs_a_gradient_gets_one(frozen, device):
    x, choices, weights, dy = drawn(40, 128, 4, 2, device)
    layer = GroupedExperts(128, 128, 4, policy="bf16", device=device)
    all_leaves = {"inputs": [x], "routing weights": [weights], "weights": list(layer.parameters())}
    whole = torch.autograd.grad(layer(x, choices, weights), [v for leaves in all_leaves.values() for v in leaves], dy)
    for leaf in all_leaves[frozen]:
        leaf.requires_grad_(False)
    leaves = [v for leaves in all_leaves.values() for v in leaves]
    some = torch.autograd.grad(layer(x, choices, weights), [v for v in leaves if v.requires_grad], dy)
    expected = [g for g, v in zip(whole, leaves, strict=True) if v.requires_grad]
    assert all(torch.equal(a, b) for a, b in zip(some, expected, strict=True))


def test_state_is_plain_weights(device):
    layer = MoE(128, 128, 4, 2, shared=1, dtype=torch.bfloat16, device=device)
    names = {name: (tuple(v.shape), v.dtype) for name, v in layer.state_dict().items()}
    half = torch.bfloat16
    assert names == {
        "router.weight": ((4, 128), torch.float32),
        "experts.gate_up_proj": ((4, 256, 128), half),
        "experts.down_proj": ((4, 128, 128), half),
        "shared.gate_up_proj": ((1, 256, 128), half),
        "shared.down_proj": ((1, 128, 128), half),
    }


def test_a_step_in_a_cuda_graph(device):
    if device == "cpu":
        pytest.skip("needs a GPU")
    torch.manual_seed(0)
    layer = MoE(256, 128, 8, 2, shared=1, device=device)
    x = torch.randn(500, 256, device=device, requires_grad=True)
    leaves = (x, *layer.parameters())
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(2):
            torch.autograd.grad(layer(x).square().sum(), leaves)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):  # capture fails where the host waits for the device
        captured = torch.autograd.grad(layer(x).square().sum(), leaves)
    for _ in range(3):
        with torch.no_grad():
            x.copy_(torch.randn_like(x))
        graph.replay()
        torch.cuda.synchronize()
        for a, b in zip(captured, torch.autograd.grad(layer(x).square().sum(), leaves), strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GroupedExperts(100, 128, 4), "expected hidden to be a multiple of 128.*got 100"),
        (lambda: GroupedExperts(128, 100, 4), "expected intermediate to be a multiple of 128.*got 100"),
        (lambda: Linear(128, 100), "expected out_features to be a multiple of 128.*got 100"),
        (lambda: GroupedExperts(128, 128, 4, policy="fp4"), "expected a Policy or one of bf16, fp8, mxfp4, but got 'fp4'"),
        (lambda: Policy(rows="fp16"), "expected rows to be one of bf16, fp8, mxfp4, but got 'fp16'"),
        (lambda: Policy("bf16"), "computes in bf16 reads its operands in bf16, but rows is mxfp4"),
        (lambda: MoE(128, 128, 4, 5), "expected 1 <= top_k <= 4, but got 5"),
        (lambda: GroupedExperts(128, 128, 4)(torch.zeros(3, 256), torch.zeros(3, 2, dtype=int), torch.zeros(3, 2)), r"expected \[T, 128\]"),
        (lambda: replace_experts(torch.nn.Linear(2, 2)), "no experts that can be replaced"),
    ],
)  # fmt: skip
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def small_model(kind):
    transformers = pytest.importorskip("transformers", minversion="5")
    sizes = dict(vocab_size=64, hidden_size=128, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
                 max_position_embeddings=64, num_experts_per_tok=2)  # fmt: skip
    if kind == "mixtral":
        config = transformers.MixtralConfig(**sizes, intermediate_size=256, num_local_experts=4)
    elif kind == "qwen3":
        config = transformers.Qwen3MoeConfig(
            **sizes, intermediate_size=256, moe_intermediate_size=128, num_experts=4, head_dim=64
        )
    else:
        config = transformers.DeepseekV3Config(
            **sizes, intermediate_size=256, moe_intermediate_size=128, n_routed_experts=4, n_shared_experts=1, n_group=1, topk_group=1,
            first_k_dense_replace=1, q_lora_rank=32, kv_lora_rank=32, qk_nope_head_dim=32, qk_rope_head_dim=32, v_head_dim=32,
        )  # fmt: skip
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize(("kind", "layers"), [("mixtral", 2), ("qwen3", 2), ("deepseek", 1)])
def test_experts_of_transformers_models(kind, layers, device):
    model = small_model(kind).to(device)
    with torch.no_grad():  # the usual start, 0.02, would leave experts beside attention nothing to say
        for name, parameter in model.named_parameters():
            if name.endswith(("gate_up_proj", "down_proj")):
                parameter.normal_(std=parameter.shape[-1] ** -0.5)
    state = {name: v.clone() for name, v in model.state_dict().items()}
    tokens = torch.randint(0, 64, (2, 32), device=device)
    expected = model(tokens).logits
    other = copy.deepcopy(model)
    for policy, most in (("bf16", 0.05), ("mxfp4", 0.5)):  # the second layer sends some tokens elsewhere
        model = copy.deepcopy(other)
        before = {name: id(p) for name, p in model.named_parameters()}
        assert len(replace_experts(model, policy)) == layers
        assert {name: id(p) for name, p in model.named_parameters()} == before  # the same parameters, under the same names
        assert all(torch.equal(v, state[name]) for name, v in model.state_dict().items())
        result = model(tokens, labels=tokens)
        assert error(result.logits, expected) < most
        result.loss.backward()
        moved = [n for n, p in model.named_parameters() if n.endswith("down_proj") and p.grad is not None and p.grad.any()]
        assert len(moved) == layers


def test_other_activations_are_refused():
    model = small_model("mixtral")
    for layer in model.model.layers:
        layer.mlp.experts.act_fn = torch.nn.GELU()
    with pytest.raises(ValueError, match="activation GELU, not silu"):
        replace_experts(model)


def test_policies_have_names():
    assert set(POLICIES) == {"bf16", "fp8", "mxfp4"} and POLICIES["mxfp4"] == Policy()
    assert vn.torch.MoE is MoE
