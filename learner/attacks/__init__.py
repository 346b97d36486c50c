"""Attacks on learning and on pay: each small, seeded, with its source; a simulation lets clients make them.

    poisoning      lie in the data: label-flip, class-flip, one-class, back-door, few-samples
    manipulation   harm by the update: sign-flip, gaussian, norm-inflation, inner-product, little-is-enough, blend
    free_riding    be paid without training: zero, noise, delta-replay, stale-model
    copying        send what another published: copy
    collusion      act together or change over time: sybils, split, on-off
    adaptive       know the rule: published-references, insider, gate-passing
    lying          what edge servers commit to: negated, scaled, target-class, planted

An attack makes its update in real numbers; what the job's bounds do not let through is refused as anybody's would be.
"""

from typing import TypeAlias

from learner.attacks.adaptive import GatePassing, Insider, PublishedReferences
from learner.attacks.attack import Attack
from learner.attacks.collusion import Lone, OnOff, Split, Sybils
from learner.attacks.copying import Copy
from learner.attacks.free_riding import DeltaReplay, Noise, StaleModel, Zero
from learner.attacks.lying import AnyLie, Lie, Negated, Planted, Scaled, TargetClass
from learner.attacks.manipulation import Blend, Gaussian, InnerProduct, LittleIsEnough, NormInflation, SignFlip
from learner.attacks.poisoning import BackDoor, ClassFlip, FewSamples, LabelFlip, OneClass
from learner.attacks.view import Conspiracy, Published, View

AnyAttack: TypeAlias = Lone | Sybils | Split | OnOff
"""What a file may name; `name` tells them apart."""

__all__ = [
    "AnyAttack",
    "AnyLie",
    "Attack",
    "BackDoor",
    "Blend",
    "ClassFlip",
    "Conspiracy",
    "Copy",
    "DeltaReplay",
    "FewSamples",
    "GatePassing",
    "Gaussian",
    "InnerProduct",
    "Insider",
    "LabelFlip",
    "Lie",
    "LittleIsEnough",
    "Lone",
    "Negated",
    "Noise",
    "NormInflation",
    "OnOff",
    "OneClass",
    "Planted",
    "Published",
    "PublishedReferences",
    "Scaled",
    "SignFlip",
    "Split",
    "StaleModel",
    "Sybils",
    "TargetClass",
    "View",
    "Zero",
]
