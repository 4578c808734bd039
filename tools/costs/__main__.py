"""Calculates what a stack costs a month with your numbers: `make costs DETACHES=3000`, or `python -m tools.costs …`.

Exit status: 0, or 2 for a number that cannot be used.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

from tools.costs.bill import NUMBERS, Bill, Usage, bill, not_deployed, vcpu
from tools.costs.measured import deployed, our_bench, our_template
from tools.costs.prices import Prices, WrongNumber
from tools.exit_status import Exit


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    known = "\n".join(f"  {number.name:9} {number.about}" for number in NUMBERS)
    parser = argparse.ArgumentParser(
        prog="python -m tools.costs",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"{__doc__}\nNumbers:\n{known}\n  PRICES    other prices, such as PRICES='log_gb=0.6 trace=0'",
    )
    parser.add_argument("numbers", nargs="*", metavar="NAME=number", help="see above")
    parser.add_argument("--details", action="store_true", help="all tables, the formula, prices and assumptions")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(given)


def asked_for(words: Sequence[str]) -> tuple[Usage, Prices]:
    """The numbers of `NAME=number`. Raises WrongNumber."""
    known = {number.name: number for number in NUMBERS}
    usage: dict[str, float] = {}
    prices = Prices()
    for word in words:
        name, equals, text = word.partition("=")
        if name == "PRICES" and equals:
            prices = prices.but(text)
        elif name in known and equals:
            usage[name.lower()] = known[name].of(text)
        else:
            raise WrongNumber(f"{word!r} is not known; write NAME=number, with one of {', '.join([*known, 'PRICES'])}")
    return Usage(**usage), prices


def table(usage: Usage, month: Bill, memory: float) -> str:
    """The bill as text, without lines that cost nothing."""
    given = (
        f"{usage.detaches:,g} detaches a month of {usage.seconds:g} s each; {usage.cloud_ms:g} ms a call to the cloud; "
        f"{memory:g} MB; {usage.batch:g} in a batch"
    )
    lines = [
        f"  {line.what:30} {amount(line.quantity, line.unit):>17} {line.usd:10,.2f}" for line in month.lines if line.usd
    ]
    return "\n".join(
        [
            given,
            f"{month.cold:.0%} of them begin with a cold start; US dollars, list prices, no free tier",
            "",
            *lines,
            f"  {'total':48} {month.usd:10,.2f}",
            f"  {'of which without any request':48} {month.standing:10,.2f}",
        ]
    )


def amount(quantity: float, unit: str) -> str:
    digits = 0 if quantity >= 100 or quantity == int(quantity) else 3
    return f"{quantity:,.{digits}f} {unit}".strip()


def main(given: Sequence[str] | None = None) -> Exit:
    asked = arguments(given)
    if asked.details:
        from tools.costs.page import details

        print(details(), end="")
        return Exit.DETACHED
    try:
        usage, prices = asked_for(asked.numbers)
    except WrongNumber as error:
        print(error, file=sys.stderr)
        return Exit.USAGE
    there = deployed(our_template(), not_deployed(usage))
    memory = there.memory if usage.memory is None else usage.memory
    month = bill(usage, prices, our_bench(), there)
    if asked.json:
        said = {"numbers": asdict(usage) | {"memory": memory, "cold": month.cold}, "vcpu": vcpu(memory)}
        lines = [asdict(line) for line in month.lines]
        print(json.dumps({**said, "lines": lines, "usd": month.usd, "usd_without_requests": month.standing}))
    else:
        print(table(usage, month, memory))
    return Exit.DETACHED


if __name__ == "__main__":
    sys.exit(main())
