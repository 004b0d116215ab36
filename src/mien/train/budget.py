"""How far a run's schedule is, where a budget of time may end it before its epochs do.

A budget stretches the schedule over the steps that it affords: a step lies as far on it as its number among
those (budgeted training, Li et al., ICLR 2020).
"""

from __future__ import annotations

from math import ceil

from mien.train.checkpoint import Position


class Budget:
    """The budget of one run.

    Args:
        minutes: of training and validation; None is no budget.
        epochs: passes that the run has at most.
        steps_per_epoch: optimizer steps of one.
    """

    def __init__(self, minutes: float | None, epochs: int, steps_per_epoch: int) -> None:
        self.seconds = None if minutes is None else 60 * minutes
        self.epochs, self.steps_per_epoch = epochs, steps_per_epoch
        self.total_steps = epochs * steps_per_epoch

    def left(self, position: Position) -> float | None:
        """Seconds that are left, less than 0 where it was overdrawn; None without a budget."""
        if self.seconds is None:
            return None
        return self.seconds - position.seconds - position.validation_seconds

    def is_spent(self, position: Position) -> bool:
        """Whether another step, with the validation after it, would be more than is left."""
        left = self.left(position)
        step, validation = self._costs(position)
        return left is not None and left < step + validation

    def scheduled_step(self, position: Position) -> int:
        """Where on the schedule of `total_steps` the next step lies: its own number, or further on where the
        budget affords fewer steps than the epochs have; never before the step that was taken last."""
        done = self.steps_done(position)
        horizon = self._horizon(position, done)
        stretched = done if horizon >= self.total_steps else int(done / horizon * self.total_steps)
        return max(position.scheduled, min(stretched, self.total_steps - 1))

    def steps_done(self, position: Position) -> int:
        """Steps of the whole run that were taken."""
        return position.epoch * self.steps_per_epoch + position.step

    def _costs(self, position: Position) -> tuple[float, float]:
        """Mean seconds of a step and of a validation so far; 0 of what has not been measured."""
        done, validations = self.steps_done(position), len(position.history)
        step = position.seconds / done if done else 0.0
        return step, position.validation_seconds / validations if validations else 0.0

    def _horizon(self, position: Position, done: int) -> float:
        """Steps that the run will have made at its end."""
        left = self.left(position)
        if left is None or done == 0:
            return self.total_steps
        step, validation = self._costs(position)
        to_come = self.total_steps - done
        if to_come * step + ceil(to_come / self.steps_per_epoch) * validation <= left:
            return self.total_steps
        # Whole epochs cost a validation each, and what is begun after them one more.
        affordable = max(0.0, left - validation) / max(step + validation / self.steps_per_epoch, 1e-9)
        return min(done + affordable, self.total_steps)
