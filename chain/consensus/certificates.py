"""Certificates: making one of votes, and judging one of a peer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chain.consensus.errors import CertificateFaultError
from chain.consensus.types import Certificate

if TYPE_CHECKING:
    from chain.consensus.types import Height, Round, ValueId, VoteKind
    from chain.consensus.validators import ValidatorSet
    from chain.consensus.votes import Tally


def certify(height: Height, round_: Round, kind: VoteKind, value_id: ValueId, tally: Tally) -> Certificate:
    """Make a certificate of all votes for a value that has a quorum."""
    return Certificate(height, round_, kind, value_id, tally.votes_for(value_id))


def check_certificate(certificate: Certificate, validators: ValidatorSet) -> int:
    """Return the power behind a certificate, more than two thirds of `validators`.

    Every vote must be for the certificate's own slot and value, and by a validator of its own. That each signature
    holds is the shell's to check. Raises CertificateFaultError.
    """
    signers = {vote.validator for vote in certificate.votes}
    if len(signers) != len(certificate.votes):
        message = "a validator occurs twice in the certificate"
        raise CertificateFaultError(message)
    what = (certificate.height, certificate.round, certificate.kind, certificate.value_id)
    for vote in certificate.votes:
        if (vote.height, vote.round, vote.kind, vote.value_id) != what:
            message = f"the vote of 0x{vote.validator.hex()} is for something else than the certificate"
            raise CertificateFaultError(message)
        if vote.validator not in validators.powers:
            message = f"0x{vote.validator.hex()} is no validator of height {certificate.height}"
            raise CertificateFaultError(message)
    power = sum(validators.powers[signer] for signer in signers)
    if not validators.has_quorum(power):
        message = f"power {power} of {validators.total_power} is not more than two thirds"
        raise CertificateFaultError(message)
    return power
