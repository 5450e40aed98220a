"""The rules a configuration must obey that need no file to be checked, and what values may be."""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping

from saeuniv.config.combinations import combination_faults
from saeuniv.config.errors import ConfigError
from saeuniv.config.layers import parse_count
from saeuniv.config.models import TinyModel
from saeuniv.config.resources import Device
from saeuniv.config.settings import Config
from saeuniv.config.text import ChatTemplate, Data, FileData, HubData
from saeuniv.config.trained import TrainedSae, training_rules


def faults_of(config: Config) -> Iterator[str]:
    """Every value outside its range and all parts that do not go together, as sentences."""
    seen: set[str] = set()
    for key, value, holds, expected in (
        *_numbers(config),
        *_settings(config),
        *_files(config.data),
        *_sides(config),
    ):
        if not holds and key not in seen:
            seen.add(key)
            yield f"{key}={value}: expected {expected}, got {value}."
    yield from combination_faults(config)


Rule = tuple[str, object, bool, str]


def _numbers(part: object, key: str = "") -> Iterator[Rule]:
    """Keys hold numbers as JSON, which has neither nan nor inf."""
    if isinstance(part, float):
        yield key, part, math.isfinite(part), "a finite number"
    elif isinstance(part, Mapping) or dataclasses.is_dataclass(part):
        inside: Mapping[str, object] = part if isinstance(part, Mapping) else vars(part)
        for name, value in inside.items():
            yield from _numbers(value, f"{key}.{name}" if key else name)


def _settings(config: Config) -> Iterator[Rule]:
    d, e, n, b, r, s = (
        config.data,
        config.eligibility,
        config.nulls,
        config.bootstrap,
        config.resources,
        config.sweep,
    )
    fraction = "a fraction in (0, 1]"
    yield "data.context_length", d.context_length, d.context_length >= 8, "at least 8 tokens"
    yield "data.held_out", d.held_out, 0 < d.held_out <= 1, fraction
    cap = d.max_sequences_per_document
    yield "data.max_sequences_per_document", cap, cap > 0, "a positive number"
    skip_expected = "2 (trigrams look back two tokens) or more, and less than data.context_length"
    yield "data.skip_first", d.skip_first, 2 <= d.skip_first < d.context_length, skip_expected
    try:
        parse_count(d.n_tokens)
    except ConfigError:
        yield "data.n_tokens", d.n_tokens, False, "a number of tokens (10000, 10k, 1M)"
    firings = e.min_firings
    allowed = firings is None or firings == 0 or firings >= 2
    yield "eligibility.min_firings", firings, allowed, "at least 2, or 0 for no floor"
    yield "eligibility.max_rate", e.max_rate, 0 < e.max_rate <= 1, fraction
    share = e.min_within_share
    yield "eligibility.min_within_share", share, 0 <= share < 1, "a fraction in [0, 1)"
    yield (
        "eligibility.min_df_share",
        e.min_df_share,
        0 <= e.min_df_share < 1,
        "a fraction in [0, 1)",
    )
    draws_expected = "at least 19, the least that defines a 5 % quantile"
    yield "nulls.draws", n.draws, n.draws >= 19, draws_expected
    yield "nulls.shuffle_draws", n.shuffle_draws, n.shuffle_draws >= 2, "at least 2"
    yield "bootstrap.draws", b.draws, b.draws >= 100, "at least 100"
    yield "bootstrap.confidence", b.confidence, 0.5 <= b.confidence < 1, "a fraction in [0.5, 1)"
    yield "resources.processes", r.processes, r.processes is None or r.processes >= 1, "at least 1"
    batch = r.encode_batch_sequences
    yield "resources.encode_batch_sequences", batch, batch >= 1, "at least 1"
    yield "resources.encode_tasks", r.encode_tasks, 1 <= r.encode_tasks <= 1000, "1 to 1000"
    yield "resources.n_devices", r.n_devices, r.n_devices >= 1, "at least 1"
    single = r.n_devices == 1 or r.device in (Device.auto, Device.cuda)
    yield "resources.device", r.device.value, single, f"cuda for resources.n_devices={r.n_devices}"
    yield "resources.layers_gb", r.layers_gb, r.layers_gb >= 0, "at least 0"
    hours = s.max_gpu_hours
    yield "sweep.max_gpu_hours", hours, hours is None or hours > 0, "a positive number of hours"


def _files(data: Data) -> Iterator[Rule]:
    """What text that is read from files obeys."""
    if not isinstance(data, FileData):
        return
    yield "data.text_key", data.text_key, bool(data.text_key), "the name of a key"
    most = data.max_documents
    yield "data.max_documents", most, most is None or most >= 2, "at least 2 (halves are of documents)"
    if isinstance(data, HubData):
        yield "data.max_files", data.max_files, data.max_files >= 1, "at least 1"
    starts, conversations = data.document_starts, data.messages_key is not None
    expected = "a regular expression, and no data.messages_key beside it"
    yield (
        "data.document_starts",
        starts,
        starts is None or (_compiles(starts) and not conversations),
        expected,
    )
    asked = "data.messages_key=<key of the conversations> beside it"
    template, roles = data.chat_template, data.roles
    fits = conversations or template is ChatTemplate.none
    yield "data.chat_template", template.value, fits, f"{asked}, or none"
    yield "data.roles", f"[{','.join(roles)}]", conversations or not roles, f"{asked}, or []"


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def _sides(config: Config) -> Iterator[Rule]:
    for side, model, own in (
        ("a", config.a, config.sae_a),
        ("b", config.b, config.sae_b),
    ):
        sae, key = own or config.sae, "sae" if own is None else f"sae_{side}"
        yield f"{key}.max_fvu", sae.max_fvu, 0 < sae.max_fvu <= 1, "a fraction in (0, 1]"
        if isinstance(sae, TrainedSae):
            yield from training_rules(config.data, sae, key)
        if isinstance(model, TinyModel):
            yield from _tiny(config.data, model, side)


def _tiny(data: Data, model: TinyModel, side: str) -> Iterator[Rule]:
    heads = model.n_heads
    fits = heads > 0 and model.d_model > 0 and model.d_model % (2 * heads) == 0
    yield f"{side}.d_model", model.d_model, fits, f"a multiple of 2 x {side}.n_heads ({2 * heads})"
    yield f"{side}.n_layers", model.n_layers, model.n_layers >= 1, "at least 1"
    steps_expected = f"at least 1 (for none: {side}.untrained=true)"
    yield f"{side}.steps", model.steps, model.steps >= 1, steps_expected
    batch = model.batch_sequences
    yield f"{side}.batch_sequences", batch, batch >= 1, "at least 1"
    rate = model.learning_rate
    yield f"{side}.learning_rate", rate, rate > 0, "a positive number"
    context = model.context_length
    long_enough = context >= data.context_length
    expected = f"at least data.context_length ({data.context_length})"
    yield f"{side}.context_length", context, long_enough, expected
    expected = "a fraction below 1 when models are trained on this text, for example 0.3"
    yield "data.held_out", data.held_out, data.held_out < 1, expected
