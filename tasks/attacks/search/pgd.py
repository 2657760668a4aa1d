"""PGD and its relatives: steps of one size along the gradient (Madry et al., arXiv:1706.06083, section 2.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from robustray.tasks.attacks.search.rows import Search, State


class PgdSearch(Search):
    """State: `x` (n, ...), the iterate x_k to be followed next, and its number `k` (n,); `seen` (n, ...), x_{k-1}, and
    `candidate` (n,), whether the stand-in saw a success there that waits for the model itself.

    Numbers live on the CPU: unless successes count, the flow of images waits for no GPU.
    """

    clean_counts = False

    def start(self, items: Tensor, restart: Tensor) -> State:
        x = self.problem.images[items]
        if self.plan.random_start:
            indices, shape = self.problem.indices[items], x.shape[1:]
            drawn = self.geometry.draw(self.seed, self.plan.stream, restart, indices, shape)
            away = self.plan.eps * self.geometry.start(self.masked(drawn, items))
            x = self.geometry.project(x + away, x, self.plan.eps)
        k = torch.zeros(len(items), dtype=torch.int64)
        return {"x": x, "seen": x, "k": k, "candidate": torch.zeros_like(k, dtype=torch.bool)}

    def step(self, items: Tensor, restart: Tensor, state: State) -> tuple[State, Tensor]:
        plan, problem, x = self.plan, self.problem, state["x"]
        loss, gradient, largest, output = self.view.follow(x, problem.state[items], problem.objective)
        self.count(items)
        self.record.note_gradients(items, largest[:, None])
        ascent = plan.step_size * self.geometry.direction(self.masked(gradient, items))
        onward = self.geometry.project(x + ascent, problem.images[items], plan.eps)
        nobody = torch.zeros(len(items), dtype=torch.bool)
        moved = {"x": onward, "seen": x, "k": state["k"] + 1, "candidate": nobody}
        if plan.exit_rule == "last":
            return moved, nobody
        scored = self.record.score(items, x, loss, output)
        if plan.exit_rule == "best_loss":
            self.record.keep(items, scored, by_loss=True)
            return moved, nobody
        if not self.view.exact:
            return moved | {"candidate": scored.success.cpu()}, nobody
        if scored.success.any():
            self.record.keep(items[scored.success], scored[scored.success])
        return moved, scored.success.cpu()

    def waits(self, state: State) -> Tensor:
        return state["candidate"] | super().waits(state)

    def look(self, items: Tensor, state: State) -> tuple[State, Tensor]:
        """The verdict on candidates, which go on if it is no success, and on last iterates, which do not."""
        candidate, points = state["candidate"], state["x"].clone()
        at = candidate.to(points.device)
        points[at] = state["seen"][at]
        # Under "best_loss" an iterate competes with those seen during the search, on equal terms.
        best_loss = self.plan.exit_rule == "best_loss"
        scored = self.record.judge(items, points, exact=not best_loss)
        over = ~at | scored.success
        self.record.keep(items[over], scored[over], by_loss=best_loss)
        return state | {"candidate": torch.zeros_like(candidate)}, over.cpu()

    def run(self, todo: Tensor) -> None:
        super().run(todo)
        if self.plan.exit_rule == "best_loss" and not self.view.exact:
            for items in todo.split(self.plan.batch_size):
                self.record.judge_kept(items)
