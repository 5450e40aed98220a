"""Parts of a configuration that do not go together, each in its range."""

from collections.abc import Iterator

from saeuniv.config.dictionaries import CustomSae, NoSae, SharedSae
from saeuniv.config.models import HubModel, Model, Weights
from saeuniv.config.settings import Config, ControlKind
from saeuniv.config.sources import READING, Sae
from saeuniv.config.text import Data
from saeuniv.config.trained import TrainedSae


def combination_faults(config: Config) -> Iterator[str]:
    """Every choice that another one rules out, as sentences."""
    yield from _metrics(config)
    yield from _mixture(config)
    yield from _control(config)
    yield from _residual_basis(config)
    yield from _dictionaries(config)
    yield from _thresholds(config)
    yield from _shared(config)


def _metrics(config: Config) -> Iterator[str]:
    if not config.metrics:
        yield "metrics=[]: expected at least one metric, got none. Choose metrics=[partial_correlation]."
    elif config.primary_metric is not None and config.primary_metric not in config.metrics:
        yield (
            f"primary_metric={config.primary_metric}: expected one of the metrics computed, got a metric "
            f"that is not in metrics=[{','.join(config.metrics)}]. Choose one of these or add it there."
        )
    for key, metric in config.metrics.items():
        if key != metric.name:
            yield (
                f"metrics.{key}: expected the name that its options give it, metrics.{metric.name}, got "
                f"{key}. Results are named so: give both the same name."
            )


def _control(config: Config) -> Iterator[str]:
    """Nobody publishes dictionaries of untrained networks: the control's are trained here."""
    kind = config.control.kind
    for side, model in (("a", config.a), ("b", config.b)):
        if model.untrained and model.weights is not Weights.trained:
            yield (
                f"{side}.weights={model.weights.value}: expected trained weights to draw from, got "
                f"{side}.untrained=true. Choose one of the two."
            )
        elif kind is not ControlKind.none and model.weights is not Weights.trained:
            yield (
                f"control={kind.value}: expected trained models to take the counterparts of, got "
                f"{side}.weights={model.weights.value}. Choose control=none."
            )
        elif kind is ControlKind.step0 and not isinstance(model, HubModel):
            yield (
                f"control=step0: expected models of the hub that are published with their initial weights as "
                f"revision step0, got {side}={model.label}. Choose control=untrained."
            )
    if kind is ControlKind.none or not (config.a.is_trained or config.b.is_trained):
        return
    for own, key in ((config.sae_a or config.sae, "sae_a"), (config.sae_b or config.sae, "sae_b")):
        if not isinstance(own, TrainedSae | SharedSae | NoSae):
            key = key if getattr(config, key) else "sae"
            yield (
                f"control={kind.value}: expected dictionaries trained here (sae=tiny, sae=train), got {key} "
                f"from elsewhere, and the untrained counterparts have none. Choose control=none or sae=train."
            )
            return


def _residual_basis(config: Config) -> Iterator[str]:
    """Directions of two models lie in two residual bases: their cosines mean nothing."""
    alignment = config.alignment
    if alignment.reads == "dictionaries" and config.a != config.b and not alignment.assume_same_basis:
        yield (
            f"alignment={alignment.name}: expected dictionaries of one model, whose residual basis they "
            f"share, got two models. Choose an alignment that reads tokens (hungarian, mutual_nn), the same "
            f"model for a and b with other dictionaries, or alignment.assume_same_basis=true if one was "
            f"fine-tuned from the other."
        )


def _dictionaries(config: Config) -> Iterator[str]:
    """Metrics of dictionaries compare directions in one residual basis, and axes are no dictionary."""
    for name, metric in config.metrics.items():
        if metric.reads != "dictionaries":
            continue
        if config.a != config.b and not getattr(metric, "assume_same_basis", False):
            yield (
                f"metrics={name}: expected dictionaries of one model, whose residual basis they share, got "
                f"two models. Leave it out, take the same model for a and b with other dictionaries "
                f"(sae_b.seed=1), or set metrics.{name}.assume_same_basis=true if one model was fine-tuned "
                f"from the other."
            )
        if any(
            isinstance(sae, NoSae | CustomSae)
            for sae in (config.sae_a or config.sae, config.sae_b or config.sae)
        ):
            yield (
                f"metrics={name}: expected dictionaries with directions to compare, got none (sae=none) or "
                f"an object without parameters (sae=custom). Leave it out, or choose other dictionaries."
            )


def _thresholds(config: Config) -> Iterator[str]:
    """The dictionaries that are trained here are TopK: they have none; those of files are looked at later."""
    saes = (config.sae_a or config.sae, config.sae_b or config.sae)
    if config.alignment.needs_thresholds and not all(sae.may_have_thresholds for sae in saes):
        yield (
            f"alignment={config.alignment.name}: expected dictionaries with thresholds (JumpReLU), got TopK "
            f"ones. Choose alignment=decoder_cosine or encoder_cosine, or JumpReLU dictionaries "
            f"(sae=gemma_scope, llama_scope); compare_latents takes thresholds from Python."
        )


def _shared(config: Config) -> Iterator[str]:
    """B reads by A's dictionaries: A must have some, and their width is A's."""
    if isinstance(config.sae_a or config.sae, SharedSae):
        key = "sae" if config.sae_a is None else "sae_a"
        yield (
            f"{key}=shared: expected dictionaries of A's own, which B may share, got none. Choose sae_a=... "
            f"and sae_b=shared."
        )
    elif isinstance(config.sae_b, SharedSae) and config.width_b is not None:
        yield (
            f"width_b={config.width_b}: expected none, since sae_b=shared takes A's dictionaries. Leave it "
            f"out, or set width_a."
        )
    if isinstance(config.sae_b, SharedSae):
        own, usual = config.sae_b, SharedSae()
        lender = config.sae_a or config.sae
        for name in READING:
            if getattr(own, name) not in (getattr(usual, name), getattr(lender, name)):
                yield (
                    f"sae_b.{name}: expected none, since sae_b=shared reads as A does. Set sae_a.{name}, "
                    f"which is for both sides then."
                )


def _mixture(config: Config) -> Iterator[str]:
    """The embedded parts are meant for one another; a mixture is nearly always an oversight."""
    parts: dict[str, Model | Sae | Data] = {"a": config.a, "b": config.b, "data": config.data}
    for side, own in (("sae_a", config.sae_a), ("sae_b", config.sae_b)):
        if not isinstance(own, SharedSae | NoSae):
            parts["sae" if own is None else side] = own or config.sae
    if isinstance(config.sae, NoSae | SharedSae):
        parts.pop("sae", None)
    embedded = [key for key, part in parts.items() if part.embedded]
    foreign = [key for key, part in parts.items() if not part.embedded]
    if embedded and foreign and not config.allow_mixed:
        yield (
            f"{', '.join(embedded)}: still the embedded tiny experiment (the defaults), while "
            f"{', '.join(foreign)} is not; tiny dictionaries, sizes and text do not fit other models. "
            f"Choose all of a=, b=, sae= and data=, or set allow_mixed=true if the mixture is meant."
        )
