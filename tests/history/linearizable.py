# SPDX-License-Identifier: Apache-2.0
"""
Is a history linearizable: is there an order of its operations, each at one moment between its call and its return,
in which a sequential object gives every result that was seen?

The search is that of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) with Lowe's memory of
configurations that were tried ("Testing for Linearizability", 2017). It is exponential at worst, so histories are kept
short: one object, a few workers, some dozens of operations.
"""
import dataclasses

FOREVER = float("inf")


@dataclasses.dataclass
class Op:
    """
    One call. `result` None: nobody knows what became of it (its mount was killed, its deadline passed), so it may have
    happened at any time after its call, or never; `end` is then FOREVER.
    """
    worker: int
    call: tuple
    begin: float
    end: float = FOREVER
    result: object = None

    def __str__(self):
        name, *args = self.call
        end = "?" if self.end == FOREVER else f"{self.end * 1000:.2f}"
        result = "nobody knows" if self.result is None else self.result
        return f"{self.begin * 1000:10.2f} .. {end:>10}  w{self.worker}  {name}({', '.join(map(str, args))}) -> {result}"


class NotLinearizable(AssertionError):
    """No order explains the results; the text has the history, and how far the best order came."""


def candidates(ops, done):
    """Operations that may come next: called before any other that is left returned. `ops` are sorted by call."""
    found, first_end = [], FOREVER
    for index, op in enumerate(ops):
        if op.begin > first_end:
            break
        if not done >> index & 1:
            first_end = min(first_end, op.end)
            found.append(index)
    return [index for index in found if ops[index].begin <= first_end]


def search(ops, initial, step, configurations_max=2_000_000):
    """
    An order of the indices of `ops` (sorted by call) that explains them, or None and the best attempt. `step(state,
    call, result)` is the object: its next state, or None if it could not have answered so; result None fits always.
    """
    must = sum(1 << i for i, op in enumerate(ops) if op.result is not None)
    tried, best, order = set(), [], []
    stack, choices = [(0, initial, None)], [iter(candidates(ops, 0))]
    while stack:
        done, state, _ = stack[-1]
        if done & must == must:
            return [index for _, _, index in stack[1:]], best
        for index in choices[-1]:
            op = ops[index]
            after = step(state, op.call, op.result)
            if after is None or (done | 1 << index, after) in tried:
                continue
            tried.add((done | 1 << index, after))
            if len(tried) > configurations_max:
                raise RuntimeError(f"more than {configurations_max} configurations: the history is too long")
            stack.append((done | 1 << index, after, index))
            choices.append(iter(candidates(ops, done | 1 << index)))
            order = [i for _, _, i in stack[1:]]
            if len(order) > len(best):
                best = order
            break
        else:
            stack.pop()
            choices.pop()
    return None, best


def check(history, initial, step):
    """Raises NotLinearizable."""
    ops = sorted(history, key=lambda op: op.begin)
    order, best = search(ops, initial, step)
    if order is not None:
        return
    state = initial
    for index in best:
        state = step(state, ops[index].call, ops[index].result)
    done = sum(1 << index for index in best)
    raise NotLinearizable("\n".join(
        ["no order of these operations explains their results:", *map(str, ops),
         f"The longest order that does, of {len(best)} operations, leaves {state}, and then none of:",
         *(str(ops[i]) for i in candidates(ops, done))]))


def check_regular(writes, reads, initial):
    """
    A weaker promise: each read has the value of a write that no other one followed wholly before it, or of one that
    runs beside it. Values are unique. Raises NotLinearizable.
    """
    by_value = {op.call[1]: op for op in writes}
    for read in reads:
        write = by_value.get(read.result)
        begin, end = (write.begin, write.end) if write else (-FOREVER, -FOREVER)
        is_known = write is not None or read.result == initial
        later = [w for w in writes if w.begin > end and w.end < read.begin]
        if not is_known or begin > read.end or later:
            raise NotLinearizable("\n".join(
                ["a read has what was no value of its time:", *map(str, sorted(writes + [read], key=lambda o: o.begin)),
                 "namely:", str(read), *(["although there was", *map(str, later)] if later else [])]))
