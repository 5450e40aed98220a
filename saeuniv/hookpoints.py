"""The one table of places where activations are read, under the names of every library we meet."""

from enum import Enum
from typing import NamedTuple


class HookpointKind(Enum):
    """Which activation of a block; values are the words used on the command line."""

    resid_pre = "resid_pre"
    resid_post = "resid_post"
    mlp_out = "mlp_out"
    attn_out = "attn_out"


# TransformerLens 4 (TransformerBridge): canonical names, which also work in callable filters.
_TRANSFORMER_LENS = {
    HookpointKind.resid_pre: "blocks.{layer}.hook_in",
    HookpointKind.resid_post: "blocks.{layer}.hook_out",
    HookpointKind.mlp_out: "blocks.{layer}.mlp.hook_out",
    HookpointKind.attn_out: "blocks.{layer}.attn.hook_out",
}

# sparsify hooks the OUTPUT of a module of the Hugging Face base model: `layers.l` is resid_post[l].
# Feeding it `hidden_states[l]` (= resid_pre[l]) is the off-by-one of earlier code.
_BLOCKS = {"gpt2": "h"}
_MLP = {"gpt2": "mlp"}
_ATTENTION = {"gpt_neox": "attention", "gpt2": "attn"}


class Hookpoint(NamedTuple):
    """A place in a model: `resid_post[3]` is the residual stream after block 3."""

    kind: HookpointKind
    layer: int

    def __str__(self) -> str:
        return f"{self.kind.value}[{self.layer}]"

    @property
    def transformer_lens(self) -> str:
        """The canonical TransformerBridge name, `blocks.3.hook_out`."""
        return _TRANSFORMER_LENS[self.kind].format(layer=self.layer)

    def sparsify(self, architecture: str) -> str:
        """The module whose output sparsify reads, relative to the base model: `layers.3`, `h.3`.

        `architecture` is Hugging Face's `model_type`. Raises ValueError for resid_pre: no module's
        output is the input of a block (for l > 0 it is resid_post[l - 1]).
        """
        block = f"{_BLOCKS.get(architecture, 'layers')}.{self.layer}"
        match self.kind:
            case HookpointKind.resid_post:
                return block
            case HookpointKind.mlp_out:
                return f"{block}.{_MLP.get(architecture, 'mlp')}"
            case HookpointKind.attn_out:
                return f"{block}.{_ATTENTION.get(architecture, 'self_attn')}"
            case HookpointKind.resid_pre:
                raise ValueError(
                    f"{self}: expected the output of a module, got the input of a block. "
                    f"Choose resid_post of the layer before, mlp_out or attn_out."
                )

    def neighbours(self, n_layers: int) -> tuple["Hookpoint", ...]:
        """The same activation one layer below and above: where an off-by-one would have read."""
        below = Hookpoint(self.kind, self.layer - 1) if self.layer else Hookpoint(HookpointKind.resid_pre, 0)
        above = Hookpoint(self.kind, self.layer + 1)
        return tuple(h for h in (below, above) if h.layer < n_layers and h != self)
