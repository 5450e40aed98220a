"""Alignment methods: latents of A put in pairs with latents of B."""

from saeuniv.alignments.base import AlignmentMethod as AlignmentMethod
from saeuniv.alignments.base import DictionaryAlignment as DictionaryAlignment
from saeuniv.alignments.decoder_cosine import DecoderCosine as DecoderCosine
from saeuniv.alignments.encoder_cosine import EncoderCosine as EncoderCosine
from saeuniv.alignments.folded_parameters import FoldedParameters as FoldedParameters
from saeuniv.alignments.greedy import Greedy as Greedy
from saeuniv.alignments.hungarian import Hungarian as Hungarian
from saeuniv.alignments.max_corr import MaxCorr as MaxCorr
from saeuniv.alignments.mutual_nn import MutualNn as MutualNn
from saeuniv.alignments.sinkhorn import Sinkhorn as Sinkhorn

ALIGNMENTS: tuple[type[AlignmentMethod], ...] = (
    MaxCorr,
    MutualNn,
    Greedy,
    Hungarian,
    Sinkhorn,
    DecoderCosine,
    EncoderCosine,
    FoldedParameters,
)
