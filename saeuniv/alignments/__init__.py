"""Alignment methods: latents of A put in pairs with latents of B."""

from saeuniv.alignments.base import AlignmentMethod as AlignmentMethod
from saeuniv.alignments.hungarian import Hungarian as Hungarian
from saeuniv.alignments.max_corr import MaxCorr as MaxCorr
from saeuniv.alignments.mutual_nn import MutualNn as MutualNn

ALIGNMENTS: tuple[type[AlignmentMethod], ...] = (MaxCorr, MutualNn, Hungarian)
