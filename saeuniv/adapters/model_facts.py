"""What config.json and tokenizer.json say of a language model, without loading it (no torch)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from saeuniv.adapters.checkpoints import LocalFolder, tokenizer_hash
from saeuniv.adapters.hub import HubFolder
from saeuniv.config import ConfigError, Dtype
from saeuniv.hookpoints import HookpointKind, is_parallel

# The names under which common architectures write one number.
_N_LAYERS = ("num_hidden_layers", "n_layer", "num_layers")
_D_MODEL = ("hidden_size", "n_embd", "d_model")
_VOCAB_SIZE = ("vocab_size",)
_D_FF = ("intermediate_size", "n_inner", "ffn_hidden_size", "ffn_dim")
_N_POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len")
_N_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")

# These leave the width of the MLP unsaid where it is four times that of the stream.
_FOUR_TIMES = frozenset({"gpt2", "gptj", "gpt_neo", "falcon", "codegen"})

# Of a prefix: gemma, gemma2, gemma3_text. Their residual streams exceed 65,504.
_OVERFLOWS_IN_FLOAT16 = "gemma"

TINY_D_FF = 4
"""Neurons of the embedded models' MLPs per dimension of their stream."""


class ModelFacts(NamedTuple):
    """What is known of a language model before it is loaded."""

    n_layers: int
    d_model: int
    vocab_size: int
    architecture: str
    """Hugging Face's model_type, for example gpt_neox."""

    tokenizer: str
    """Sixteen hex digits, equal for two models exactly when every text has the same ids in both."""

    identity: Mapping[str, str]
    """What names the model in a store key: repository and commit, or sha256; empty for embedded models."""

    folder: str
    """What loading takes: a folder, or the hub repository; empty for embedded models."""

    d_ff: int | None = None
    """Width of the MLP inside; None where the configuration does not say, or there are several MLPs."""

    parallel: bool = False
    """Attention and MLP read the same stream: there is no resid_mid."""

    dtype: str = "float32"
    """The type that the checkpoint names as its own."""

    n_positions: int | None = None
    """Tokens that it reads at once; None where the configuration does not say, or embedded models do."""

    def check_context(self, context_length: int, *, key: str, label: str) -> None:
        """Refuse sequences that are longer than what the model reads at once.

        Raises:
            ConfigError: they are.
        """
        if self.n_positions is not None and context_length > self.n_positions:
            raise ConfigError(
                f"data.context_length={context_length}: expected at most {self.n_positions}, the tokens that "
                f"{key}={label} reads at once, got {context_length}. Lower it."
            )

    def computes_in(self, asked: Dtype, *, device: str, key: str) -> str:
        """The type that the model computes in on a device; for auto its own on a GPU, float32 on the CPU.

        A model of float16 that overflows in it is taken in bfloat16, which has the range of float32.

        Raises:
            ConfigError: float16 is asked of a model that overflows in it.
        """
        overflows = self.architecture.startswith(_OVERFLOWS_IN_FLOAT16)
        if asked is Dtype.auto:
            own = "float32" if device == "cpu" else self.dtype
            return "bfloat16" if own == "float16" and overflows else own
        if asked is Dtype.float16 and overflows:
            raise ConfigError(
                f"{key}.dtype=float16: expected a type that the activations of {self.architecture} fit in, "
                f"and they overflow in float16. Choose {key}.dtype=auto, bfloat16 or float32."
            )
        return asked.value

    def width_at(self, kind: HookpointKind) -> int:
        """The dimensions of an activation.

        Raises:
            ConfigError: the model has no such activation, or its configuration does not say how wide it is.
        """
        absent = {HookpointKind.resid_mid} if self.parallel else set[HookpointKind]()
        absent |= {HookpointKind.neurons} if self.d_ff is None else set()
        if kind in absent:
            reasons = {
                HookpointKind.resid_mid: "whose attention and MLP read the same stream, so that it has none",
                HookpointKind.neurons: "whose config.json does not say how wide its one MLP is",
            }
            choices = ", ".join(each.value for each in HookpointKind if each not in absent)
            raise ConfigError(
                f"sae.hookpoint={kind.value}: expected an activation that the model has, got {kind.value} of "
                f"a {self.architecture} model {reasons[kind]}. Choose one of {choices}."
            )
        if kind is HookpointKind.neurons:
            assert self.d_ff is not None, "refused above"
            return self.d_ff
        return self.d_model


def facts_of(
    source: LocalFolder | HubFolder,
    config: Mapping[str, Any],
    tokenizer: dict[str, Any],
    *,
    identity: Mapping[str, str],
) -> ModelFacts:
    """The facts in the files of a folder.

    Raises:
        ConfigError: config.json lacks what every decoder-only language model has.
    """
    written = (_N_LAYERS, _D_MODEL, _VOCAB_SIZE)
    numbers = [_number(config, names) for names in written]
    lacking = [names[0] for names, number in zip(written, numbers, strict=True) if not number]
    architecture = config.get("model_type")
    if not isinstance(architecture, str):
        lacking.append("model_type")
    if lacking:
        raise ConfigError(
            f"{source.where}: config.json has no {', '.join(lacking)}. Expected the configuration of a "
            f"decoder-only language model (GPT-NeoX, GPT-2, Llama, Gemma, Qwen ...)."
        )
    n_layers, d_model, vocab_size = (int(number or 0) for number in numbers)
    return ModelFacts(
        n_layers,
        d_model,
        vocab_size,
        str(architecture),
        tokenizer_hash(tokenizer),
        identity,
        source.loadable(""),
        d_ff_of(config, str(architecture), d_model),
        is_parallel(str(architecture), config),
        _own_dtype(config),
        _number(config, _N_POSITIONS),
    )


def d_ff_of(config: Mapping[str, Any], architecture: str, d_model: int) -> int | None:
    """Width of the MLP inside, by config.json; None where it does not say, or there are several MLPs."""
    if _number(config, _N_EXPERTS):
        return None
    d_ff = _number(config, _D_FF)
    if d_ff is None and architecture in _FOUR_TIMES:
        return 4 * d_model
    return d_ff if isinstance(d_ff, int) else None


def _number(config: Mapping[str, Any], names: Sequence[str]) -> int | None:
    return next((config[name] for name in names if config.get(name)), None)


def _own_dtype(config: Mapping[str, Any]) -> str:
    """Quantised and other types are computed with in float32."""
    own = config.get("dtype") or config.get("torch_dtype")
    return str(own) if own in {each.value for each in Dtype} - {"auto"} else "float32"
