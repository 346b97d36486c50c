"""What an attacker who knows the rule can work out before it sends: the theta that its update would have."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from learner.attacks import Published
from learner.context import add_to_sums, view
from learner.contribution import rule
from learner.fixedpoint import Update
from learner.gram import gram
from learner.references import References
from learner.simulation.ledger import Ledger


def opened(ledger: Ledger) -> Mapping[int, Sequence[References]]:
    """Give the references that rounds have opened, by version."""
    references = ledger.context.references
    return {version: references[version] for version in sorted(ledger.opened) if version in references}


def foreseen(ledger: Ledger, client: int, update: Update | None, published: Sequence[Published]) -> int:
    """Score an update after the newest phi - 1 of other clients by the job's rule; its theta in ppb, 0 for None.

    All are judged by the newest open references, since nobody knows the sealed ones. What the rule remembers of
    clients, and its window, are public.
    """
    if update is None:
        return 0
    terms, number = ledger.terms, ledger.version + 1
    chosen = rule(terms.scoring, terms.rules_version)
    others = [one for one in published if one.client != client][1 - terms.phi :] if terms.phi > 1 else []
    clients = [*(one.client for one in others), client]
    updates = [*(one.update for one in others), update]
    known = opened(ledger)
    newest = known[max(known)] if known else ()
    context = replace(ledger.context, references={ledger.version: newest})
    seen = view(
        chosen.needs,
        context,
        number=number,
        updates=updates,
        versions=[ledger.version] * len(updates),
        clients=clients,
        samples=[1] * len(updates),  # what a client is credited with is not among what an update says
        products=gram(updates),
        sums=add_to_sums(context.sums, clients, updates) if chosen.needs.sums else {},
    )
    return chosen.score(seen).thetas[-1]
