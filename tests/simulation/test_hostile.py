"""Hostile input ends in a clear answer."""

from tests.simulation.hostile import inputs, wrong_with


def test_hostile_input_is_answered() -> None:
    """Bent and broken samples never raise, and a rejection names its faults."""
    assert [] == [(text, wrong) for text in inputs(3000, seed=7) if (wrong := wrong_with(text))]
