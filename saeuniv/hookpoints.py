"""The one table of places where activations are read, under the names of every library we meet."""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple


class HookpointKind(Enum):
    """Which activation of a block; values are the words used on the command line."""

    resid_pre = "resid_pre"
    """The residual stream that enters the block."""

    resid_mid = "resid_mid"
    """resid_pre and what attention adds; only where the MLP reads the stream after attention has written."""

    resid_post = "resid_post"
    """The residual stream that leaves the block."""

    mlp_out = "mlp_out"
    """What the MLP adds to the stream."""

    attn_out = "attn_out"
    """What attention adds to the stream."""

    neurons = "neurons"
    """What the down projection of the MLP reads: as wide as the MLP is inside."""


# TransformerBridge resolves these per architecture: where a norm follows the MLP (Gemma 2), hook_mlp_out is
# that norm's output. They do not work in callable filters.
_TRANSFORMER_LENS = {
    HookpointKind.resid_pre: "blocks.{layer}.hook_resid_pre",
    HookpointKind.resid_mid: "blocks.{layer}.hook_resid_mid",
    HookpointKind.resid_post: "blocks.{layer}.hook_resid_post",
    HookpointKind.mlp_out: "blocks.{layer}.hook_mlp_out",
    HookpointKind.attn_out: "blocks.{layer}.hook_attn_out",
    HookpointKind.neurons: "blocks.{layer}.mlp.hook_post",
}


class _Modules(NamedTuple):
    """Names of Hugging Face's modules, relative to the base model and to the block."""

    blocks: str = "layers"
    attention: str = "self_attn"
    """Its output is what attention adds to the stream."""

    mlp: str = "mlp"
    """Its output is what the MLP adds to the stream."""

    middle: str = "post_attention_layernorm"
    """Reads the stream between attention and MLP."""

    down: str = "mlp.down_proj"
    """The MLP's last projection."""

    parallel: tuple[str, bool] = ("", False)
    """Attention and MLP side by side: the entry of config.json that says so, and what holds without it."""


_NORMS_AFTER = _Modules(
    attention="post_attention_layernorm", mlp="post_feedforward_layernorm", middle="pre_feedforward_layernorm"
)
_GPT2 = _Modules("h", "attn", "mlp", "ln_2", "mlp.c_proj")
_ALWAYS = ("", True)

# By Hugging Face's model_type; all others are taken to be laid out as Llama is.
_MODULES = {
    "cohere": _Modules(parallel=_ALWAYS),
    "cohere2": _Modules(parallel=_ALWAYS),
    "falcon": _Modules(
        "h",
        "self_attention",
        "mlp",
        "post_attention_layernorm",
        "mlp.dense_4h_to_h",
        ("parallel_attn", True),
    ),
    "gemma2": _NORMS_AFTER,
    "gemma3_text": _NORMS_AFTER,
    "gpt2": _GPT2,
    "gpt_neo": _GPT2,
    "gpt_neox": _Modules(
        attention="attention", down="mlp.dense_4h_to_h", parallel=("use_parallel_residual", True)
    ),
    "gptj": _Modules("h", "attn", "mlp", "ln_1", "mlp.fc_out", _ALWAYS),
    "olmo2": _NORMS_AFTER._replace(middle="mlp"),
    "olmo3": _NORMS_AFTER._replace(middle="mlp"),
    "phi": _Modules(down="mlp.fc2", parallel=_ALWAYS),
    "starcoder2": _Modules(down="mlp.c_proj"),
    "stablelm": _Modules(parallel=("use_parallel_residual", False)),
}
_LLAMA = _Modules()


class ModulePlace(NamedTuple):
    """A place in a Hugging Face model: what a module reads, or what it gives."""

    module: str
    """Relative to the base model: `layers.3.mlp`."""

    is_input: bool


class Hookpoint(NamedTuple):
    """A place in a model: `resid_post[3]` is the residual stream after block 3."""

    kind: HookpointKind
    layer: int

    def __str__(self) -> str:
        return f"{self.kind.value}[{self.layer}]"

    @property
    def transformer_lens(self) -> str:
        """The TransformerBridge name, an alias: `blocks.3.hook_resid_post`."""
        return _TRANSFORMER_LENS[self.kind].format(layer=self.layer)

    def hugging_face(self, architecture: str) -> ModulePlace:
        """The module that reads or gives this activation; `architecture` is Hugging Face's `model_type`."""
        names = _MODULES.get(architecture, _LLAMA)
        block = f"{names.blocks}.{self.layer}"
        match self.kind:
            case HookpointKind.resid_pre:
                return ModulePlace(block, is_input=True)
            case HookpointKind.resid_mid:
                return ModulePlace(f"{block}.{names.middle}", is_input=True)
            case HookpointKind.resid_post:
                return ModulePlace(block, is_input=False)
            case HookpointKind.mlp_out:
                return ModulePlace(f"{block}.{names.mlp}", is_input=False)
            case HookpointKind.attn_out:
                return ModulePlace(f"{block}.{names.attention}", is_input=False)
            case HookpointKind.neurons:
                return ModulePlace(f"{block}.{names.down}", is_input=True)

    def sparsify(self, architecture: str) -> str:
        """The module whose output sparsify reads, relative to the base model: `layers.3`, `h.3`.

        `layers.l` is resid_post[l]: feeding it `hidden_states[l]` (= resid_pre[l]) is the off-by-one of
        earlier code. Raises ValueError for what is no module's output (resid_pre[l] is, for l > 0,
        resid_post[l - 1]).
        """
        place = self.hugging_face(architecture)
        if place.is_input:
            raise ValueError(
                f"{self}: expected the output of a module, got the input of {place.module}. "
                f"Choose resid_post (for resid_pre, of the layer before), mlp_out or attn_out."
            )
        return place.module

    def dictionary_folder(self, architecture: str) -> str:
        """Where a dictionary trained here is written: `layers.3`, as sparsify has it; `layers.3.resid_pre`.

        The second form is of what is no module's output; no module has such a name.
        """
        place = self.hugging_face(architecture)
        block = Hookpoint(HookpointKind.resid_post, self.layer).hugging_face(architecture).module
        return f"{block}.{self.kind.value}" if place.is_input else place.module

    def neighbours(self, n_layers: int) -> tuple["Hookpoint", ...]:
        """The same activation one layer below and above: where an off-by-one would have read.

        Below layer 0 it is the stream that enters, for activations that are as wide as the stream.
        """
        near = [Hookpoint(self.kind, self.layer - 1), Hookpoint(self.kind, self.layer + 1)]
        if self.layer == 0 and self.kind is not HookpointKind.neurons:
            near[0] = Hookpoint(HookpointKind.resid_pre, 0)
        return tuple(each for each in near if 0 <= each.layer < n_layers and each != self)


def is_parallel(architecture: str, config: Mapping[str, object]) -> bool:
    """Whether attention and MLP of a block read the same stream, by config.json: it has no resid_mid then."""
    entry, default = _MODULES.get(architecture, _LLAMA).parallel
    return bool(config.get(entry, default))
