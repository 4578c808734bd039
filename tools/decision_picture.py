"""docs/decision.svg: the rules in their order and what each can answer, read from `shared/decision/rules.py`."""

import ast
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from types import ModuleType

from benchmarks.drawing import dot, line, picture, text
from shared.decision import gates, requeue, rules
from shared.model import Detail, Reason

QUESTIONS: Mapping[str, str] = {
    "nothing_there": "Is the server or the volume gone?",
    "not_meant": "Is it not known to be the attachment meant?",
    "gone_from_both": "Do compute and storage both show it gone?",
    "expired": "Is the request too old to act on?",
    "planes_disagree": "Do compute and storage disagree?",
    "in_progress": "Is a detach under way?",
    "broken_volume": "Is the volume in an error state?",
    "busy_volume": "Is the volume busy?",
    "refused": "Is it idle after an accepted DELETE?",
    "denied": "Was a DELETE refused?",
    "unsettled": "Is the outcome of a DELETE unknown?",
    "unsafe": "Is time up, or does a gate object?",
}
"""What each rule asks. A rule without a question is an error."""

OWN = "the refusal's own reason"
"""The label of a reason that the cloud's answer decides."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a rule can answer: details of `detached`, reasons of `failed`, and whether it may look again."""

    detached: tuple[str, ...]
    failed: tuple[str, ...]
    again: bool


def answers(name: str, module: ModuleType = rules) -> Answers:
    """What a function of a module of the decision can answer, with the functions that it calls."""
    nodes = [node for function in _reached(name, module) for node in ast.walk(function)]
    names = [node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    calls = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    own = [OWN for call in calls if _called(call) == "failed" and isinstance(call.args[0], ast.Attribute)
           and call.args[0].attr == "reason"]  # fmt: skip
    return Answers(
        tuple(dict.fromkeys(Detail[node.attr].value for node in names if _owner(node) == "Detail")),
        tuple(dict.fromkeys([*(Reason[node.attr].value for node in names if _owner(node) == "Reason"), *own])),
        any(_called(call) in ("requeue", "Hold") for call in calls),
    )


def _owner(node: ast.Attribute) -> str:
    return node.value.id if isinstance(node.value, ast.Name) else ""


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _reached(name: str, module: ModuleType) -> Iterator[ast.FunctionDef]:
    """A function, and what it reaches by name in its module and in the gates."""
    waiting, seen = [(name, module)], set()
    while waiting:
        name, module = waiting.pop(0)
        functions = {node.name: node for node in ast.parse(inspect.getsource(module)).body
                     if isinstance(node, ast.FunctionDef)}  # fmt: skip
        if name not in functions or (name, module) in seen:
            continue
        seen.add((name, module))
        yield functions[name]
        for node in ast.walk(functions[name]):
            if isinstance(node, ast.Name):
                waiting.append((node.id, module))
            elif isinstance(node, ast.Attribute) and _owner(node) == "gates":
                waiting.append((node.attr, gates))


WIDTH, LEFT, BOX, HIGH, LINE = 860, 20, 330, 44, 17
"""The picture, its boxes, and the height of a line of answers."""

MIDDLE, DETACHED, FAILED, AGAIN, BACK = LEFT + BOX / 2, 390, 565, 770, 820
"""Where the path goes down, where the columns begin, and where the path leads back to the next look."""


def page() -> str:
    """The whole picture."""
    found = {rule.__name__: answers(rule.__name__) for rule in rules.RULES}
    heights = [max(58, 20 + LINE * max(len(one.detached), len(one.failed))) for one in found.values()]
    *starts, end = accumulate(heights, initial=124)
    tops = [start + (height - 58) / 2 for start, height in zip(starts, heights, strict=True)]
    late = answers("requeue", requeue).failed
    parts = [
        line([(MIDDLE, 84), (MIDDLE, end)], "soft", 1.5),
        *_back([top + HIGH / 2 for top, one in zip(tops, found.values(), strict=True) if one.again], end + HIGH / 2),
        *_box(40, "a look", "reads the volume, the server and its list"),
        *_heads(),
        *(part for top, (name, one) in zip(tops, found.items(), strict=True) for part in _row(top, name, one)),
        *_arrow(MIDDLE, end),
        *_box(end, "DELETE", "no rule objects: sent at once, then looked at"),
        text(LEFT, end + 74, f"A request whose time is up ends in {', '.join(late[:-1])} or {late[-1]}.", 13, "soft"),
        text(LEFT, end + 94, "After CONFIRM_TIMEOUT, detach_unconfirmed is sent once.", 13, "soft"),
    ]
    return picture(WIDTH, round(end + 110), "The rules of the decision in their order, and what each can answer", parts)


def _heads() -> Iterator[str]:
    yield text(MIDDLE + 12, 108, "the first rule that answers decides", 13, "soft")
    yield text(DETACHED, 66, "detached", 15, "ours", "600")
    yield text(FAILED, 66, "failed", 15, "aim", "600")
    yield text(AGAIN, 66, "look again", 15, "ink", "600", "middle")


def _row(top: float, name: str, found: Answers) -> Iterator[str]:
    centre = top + HIGH / 2
    yield from _box(top, name.replace("_", " "), QUESTIONS[name])
    first_answer = DETACHED if found.detached else FAILED if found.failed else AGAIN
    yield line([(LEFT + BOX, centre), (first_answer - 14, centre)], "soft", 1.5)
    for x, words, colour in ((DETACHED, found.detached, "ours"), (FAILED, found.failed, "aim")):
        first = centre + 5 - LINE * (len(words) - 1) / 2
        yield from (text(x, first + LINE * number, word, 14, colour) for number, word in enumerate(words))
    if found.again:
        yield dot(AGAIN, centre, "ink")


def _back(heights: Iterable[float], delete: float) -> Iterator[str]:
    """From each answer that looks again, and from the DELETE, to the next look."""
    yield from (line([(AGAIN, height), (BACK, height)], "soft", 1.5) for height in heights)
    yield line([(MIDDLE, delete), (BACK, delete), (BACK, 18), (MIDDLE, 18), (MIDDLE, 40)], "soft", 1.5)
    yield from _arrow(MIDDLE, 40)


def _arrow(x: float, y: float) -> Iterator[str]:
    yield f"<path d='M{x - 5:.1f} {y - 9:.1f} L{x:.1f} {y:.1f} L{x + 5:.1f} {y - 9:.1f} Z' class='soft'/>"


def _box(top: float, name: str, question: str) -> Iterator[str]:
    shape = f"x='{LEFT}' y='{top:.1f}' width='{BOX}' height='{HIGH}' rx='6'"
    yield f"<rect {shape} class='page soft-line' stroke-width='1.5'/>"
    yield text(LEFT + 14, top + 19, name, 14, "ink", "600")
    yield text(LEFT + 14, top + 36, question, 13, "soft")
