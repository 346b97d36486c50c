"""Small federations for tests: a few clients, digits, softmax regression."""

from typing import Any

from learner.simulation.scenario import Asynchronous, Edge, Rules, Scenario, Training

SMALL = Scenario(
    model="softmax",
    clients=12,
    rounds=6,
    server=Asynchronous(phi=4, concurrency=6),
    training=Training(epochs=1, batch_size=10, learning_rate=0.1),
    edge=Edge(servers=3, root_samples=40),
    evaluate_every=3,
    evaluation_samples=200,
    seed=3,
)


def small(scoring: str = "cosine", **changed: Any) -> Scenario:
    """Return the small scenario with another rule or other parts."""
    parts = {field: getattr(SMALL, field) for field in SMALL.__struct_fields__}
    return Scenario(**parts | {"rules": Rules(scoring=scoring)} | changed)
