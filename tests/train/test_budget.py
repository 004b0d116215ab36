"""The schedule under a budget of time, by a clock of the test's own."""

from __future__ import annotations

import dataclasses

import pytest

from mien.train.budget import Budget
from mien.train.checkpoint import Position

EPOCHS, STEPS = 10, 5


def _run(minutes: float | None, *, step: float, validation: list[float]) -> tuple[list[int], float, int]:
    """Scheduled steps, seconds used and epochs of a run whose steps and validations take so long; the last of
    `validation` goes on."""
    budget, position = Budget(minutes, EPOCHS, STEPS), Position()
    scheduled = []
    while position.epoch < EPOCHS:
        while position.step < STEPS and not (position.step > 0 and budget.is_spent(position)):
            position.scheduled = budget.scheduled_step(position)
            scheduled.append(position.scheduled)
            position.step += 1
            position.seconds += step
        position.validation_seconds += validation[min(position.epoch, len(validation) - 1)]
        position.history.append({})
        position = dataclasses.replace(position, epoch=position.epoch + 1, step=0)
        if budget.is_spent(position):
            break
    return scheduled, position.seconds + position.validation_seconds, position.epoch


def test_without_a_budget_each_step_is_where_its_number_is() -> None:
    assert _run(None, step=2, validation=[4])[0] == list(range(50))


@pytest.mark.parametrize("spare", [0.0, 1.0, 1000.0])
def test_a_budget_that_suffices_changes_nothing(spare: float) -> None:
    scheduled, seconds, epochs = _run((140 + spare) / 60, step=2, validation=[4])
    assert scheduled == list(range(50))
    assert (seconds, epochs) == (140, EPOCHS)


@pytest.mark.parametrize("validation", [[0.5], [4], [12], [20, 1], [1, 12]])
def test_the_schedule_ends_when_the_budget_does(validation: list[float]) -> None:
    budget = 60.0
    scheduled, seconds, _ = _run(budget / 60, step=2, validation=validation)
    # What is left would not have paid for a step and its validation.
    assert budget - 2 - max(validation) <= seconds <= budget
    assert scheduled == sorted(scheduled)
    assert scheduled[0] == 0
    # Validations that become twelve times longer cannot be foreseen.
    assert scheduled[-1] >= (0.75 if validation == [1, 12] else 0.88) * (EPOCHS * STEPS - 1)


def test_a_budget_shorter_than_an_epoch_ends_within_it() -> None:
    scheduled, seconds, epochs = _run(6 / 60, step=2, validation=[3])
    # Nothing is known of the validation before the first one, which comes on top.
    assert (len(scheduled), seconds, epochs) == (3, 9, 1)


def test_one_step_is_taken_whatever_the_budget() -> None:
    assert _run(0.01, step=2, validation=[3]) == ([0], 5, 1)
