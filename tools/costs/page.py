"""docs/costs.md and `make costs DETAILS=1`: the tables of the bill, the formula, the prices and their sources."""

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from math import log
from pathlib import Path

from shared.policy import SECRET_KEPT
from tools.costs.bill import (
    CANARY_METRICS,
    CANARY_WAY,
    IDLE,
    KEY_REUSED,
    MAPPINGS,
    MONTH,
    NUMBERS,
    OTHER_BYTES,
    PLATFORM_BYTES,
    POLL,
    POLLERS,
    SECRETS,
    TRACED_REST,
    Usage,
    bill,
    cold_share,
    not_deployed,
    vcpu,
    works,
)
from tools.costs.counted import CHECK, DETACHES
from tools.costs.measured import Bench, Deployed, deployed, our_bench, our_call_times, our_template
from tools.costs.prices import CHECKED, UNITS, Prices

HERE = Path(__file__).parent
"""Beside this module stand both texts, with names in braces for what is computed."""

CLOUDS = (100, 300, 1000)
"""Milliseconds of a call to the cloud that the tables show."""

MONTHS = (90, 3_000, 100_000)
"""Detaches a month that the bill is shown for: three a day, a hundred a day, and a hundred thousand."""

DAYS = (1, 3, 10, 30, 100, 300, 1000)
"""Requests a day that the share of cold starts is shown for."""

SHORT_AND_USUAL = (1, 30)
"""Seconds of the detaches for which cold starts are compared."""

DAYS_A_MONTH = MONTH / 86_400


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers_from: int = 1) -> str:
    """A table of Markdown, numbers to the right."""
    ruler = ["---" if column < numbers_from else "---:" for column in range(len(head))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ruler, *rows))


def page() -> str:
    """docs/costs.md: the totals alone."""
    bench, usual = our_bench(), deployed(our_template(), not_deployed(Usage()))
    return (
        (HERE / "page.md")
        .read_text(encoding="utf-8")
        .format(
            totals=totals_table(bench, usual),
            canary=more(bench, "a canary every 5 minutes"),
            key=more(bench, "a KMS key of your own"),
            endpoint=more(bench, "one VPC endpoint in two zones"),
            nat=more(bench, "one NAT gateway"),
            cloud_ms=f"{Usage().cloud_ms:g}",
            memory=usual.memory,
        )
    )


def details() -> str:
    """All tables, the formula, the prices, and what is measured or assumed."""
    bench, usual, usage = our_bench(), deployed(our_template(), not_deployed(Usage())), Usage()
    recorded = our_call_times()
    core = vcpu(usual.memory)
    return (
        (HERE / "details.md")
        .read_text(encoding="utf-8")
        .format(
            bill=bill_table(bench, usual),
            options=options_table(bench),
            variable=variable_table(bench, usual),
            counts=counts_table(),
            cold=cold_table(bench, usual),
            half=half(bench, usual),
            prices=prices_table(),
            inputs=inputs_table(),
            memory=usual.memory,
            core=f"{core:.3f}",
            alarm_metrics=usual.alarm_metrics,
            composites=usual.composite_alarms,
            cloud_ms=f"{usage.cloud_ms:g}",
            aws_ms=f"{usage.aws_ms:g}",
            calls=f"{recorded.calls:,}",
            median=f"{recorded.median:.0f}",
            ninth=f"{recorded.ninth_decile:.0f}",
            machine=bench.machine,
            cpu_1=f"{bench.cpu_1:.2f}",
            cpu_10=f"{bench.cpu_10:.2f}",
            per_invocation=f"{bench.per_invocation:.2f}",
            per_message=f"{bench.per_message:.2f}",
            cold_start=f"{bench.cold_start:.0f}",
            imported=f"{bench.import_:.0f}",
            init=f"{bench.init:.0f}",
            slow_init=f"{bench.init / core:,.0f}",
            cold_usd=f"{1000 * usual.memory / 1024 * bench.init / core / 1000 * Prices().lambda_gb_second:.3f}",
            peak=f"{bench.memory:.0f}",
            after=f"{bench.memory_after:.0f}",
            idle=IDLE // 60,
            idle_s=IDLE,
            mappings=MAPPINGS,
            pollers=POLLERS,
            poll=POLL,
            check_calls=f"{CHECK.calls:g}",
            check_log=CHECK.log_bytes / 1000,
            check_metrics=f"{CHECK.metrics + CANARY_METRICS:g}",
            canary_way=CANARY_WAY,
            other_log=OTHER_BYTES / 1000,
            platform_log=PLATFORM_BYTES / 1000,
            rest=f"{TRACED_REST:.0%}",
            traces_usd=f"{MONTH * Prices().trace:.0f}",
            secrets=SECRETS,
            kept=SECRET_KEPT,
            reused=KEY_REUSED,
            month=f"{MONTH:,}",
            checked=CHECKED,
        )
    )


def bill_table(bench: Bench, usual: Deployed) -> str:
    bills = [bill(Usage(detaches=one), Prices(), bench, usual) for one in MONTHS]
    rows = [
        [first.what, *(f"{one.lines[at].usd:,.2f}" for one in bills)]
        for at, first in enumerate(bills[0].lines)
        if any(one.lines[at].usd for one in bills)
    ]
    return table(
        ["USD a month", *(f"{one:,} detaches" for one in MONTHS)],
        [
            *rows,
            ["**total**", *(f"**{one.usd:,.2f}**" for one in bills)],
            ["of which without any request", *(f"{one.standing:,.2f}" for one in bills)],
        ],
    )


def totals_table(bench: Bench, usual: Deployed) -> str:
    bills = [bill(Usage(detaches=one), Prices(), bench, usual) for one in MONTHS]
    rows = [[f"{one:,} detaches", f"{month.usd:,.2f}"] for one, month in zip(MONTHS, bills, strict=True)]
    return table(["a month", "USD"], [["no request", f"{bills[0].standing:,.2f}"], *rows])


OPTIONS = {
    "a canary every hour": {"canary": 730},
    "a canary every 15 minutes": {"canary": 2920},
    "a canary every 5 minutes": {"canary": 8760},
    "every request by the webhook": {"webhook": 1},
    "a KMS key of your own": {"keys": 1},
    "one VPC endpoint in two zones": {"endpoints": 2},
    "one NAT gateway": {"nats": 1},
}


def options_table(bench: Bench) -> str:
    """What each adds to the smallest of the bills."""
    return table([f"beside {MONTHS[0]} detaches", "USD a month more"], [[name, more(bench, name)] for name in OPTIONS])


def more(bench: Bench, option: str) -> str:
    """What an option adds to the smallest of the bills."""

    def month(usage: Usage) -> float:
        return bill(usage, Prices(), bench, deployed(our_template(), not_deployed(usage))).usd

    plain = Usage(detaches=MONTHS[0])
    return f"{month(replace(plain, **OPTIONS[option])) - month(plain):.2f}"


def variable_table(bench: Bench, usual: Deployed) -> str:
    """A million warm detaches: what each more costs, where metrics and traces are at their most."""

    def million(seconds: float, cloud_ms: float, batch: float) -> str:
        usage = Usage(detaches=1e6, seconds=seconds, cloud_ms=cloud_ms, batch=batch, cold=0)
        month = bill(usage, Prices(), bench, usual)
        metered = sum(one.usd for one in month.lines if one.grows and one.what not in AT_THEIR_MOST)
        return f"{metered:,.0f}"

    return table(
        ["the cloud takes", *(f"{one:,} ms a call" for one in CLOUDS), "300 ms, batches of ten"],
        [
            [f"{one.seconds:,g} s", *(million(one.seconds, ms, 1) for ms in CLOUDS), million(one.seconds, 300, 10)]
            for one in DETACHES
        ],
    )


AT_THEIR_MOST = {"CloudWatch, custom metrics", "Secrets Manager, calls", "X-Ray, traces"}
"""Lines that stop growing with requests."""


def counts_table() -> str:
    return table(
        ["the cloud takes", "invocations (I)", "calls (C)", "events (E)", "log (L)", "metrics (M)"],
        [
            [name, f"{one.invocations:g}", f"{one.calls:g}", f"{one.events:g}", f"{one.log_bytes / 1000:.1f} kB",
             f"{one.metrics:g}"]
            for name, one in [*((f"{row.seconds:,g} s", row) for row in DETACHES), ("a dry run", CHECK)]
        ],
    )  # fmt: skip


def inits(bench: Bench, usual: Deployed) -> tuple[float, float]:
    """INIT in milliseconds, if Lambda gives it a whole core, and if it gives what it gives an invocation."""
    return bench.init, bench.init / vcpu(usual.memory)


def part_of_cold_starts(usage: Usage, bench: Bench, usual: Deployed) -> float:
    work = works(usage, bench, usual.memory).detaches
    cold = work.cold_starts * work.cold_ms
    return cold / (cold + work.warm_ms)


def cold_table(bench: Bench, usual: Deployed) -> str:
    """Cold starts as a part of Lambda's duration, by requests a day; two bounds for INIT."""

    def cell(a_day: float, seconds: float, cloud_ms: float) -> str:
        usage = Usage(detaches=a_day * DAYS_A_MONTH, seconds=seconds, cloud_ms=cloud_ms)
        low, high = (part_of_cold_starts(replace(usage, init_ms=one), bench, usual) for one in inits(bench, usual))
        return f"{low:.0%} to {high:.0%}"

    kinds = [(seconds, ms) for seconds in SHORT_AND_USUAL for ms in CLOUDS]
    return table(
        ["requests a day", "begin cold", *(f"{seconds} s, {ms:,} ms a call" for seconds, ms in kinds)],
        [[f"{day:,}", f"{cold_share(day * DAYS_A_MONTH):.0%}", *(cell(day, *kind) for kind in kinds)] for day in DAYS],
        numbers_from=0,
    )


def half(bench: Bench, usual: Deployed) -> str:
    """For each case below how many requests a day cold starts are the larger half."""
    found = []
    for seconds in SHORT_AND_USUAL:
        for ms in CLOUDS:
            usage = Usage(detaches=1, seconds=seconds, cloud_ms=ms, init_ms=inits(bench, usual)[1])
            work = works(usage, bench, usual.memory).detaches
            below = most_a_day(work.warm_ms / work.cold_ms)
            said = f"below {below:.0f} requests a day" if below else "at no rate"
            found.append(f"- a detach of {seconds} s with {ms:,} ms a call: {said}")
    return "\n".join(found)


def most_a_day(ratio: float) -> float:
    """Where `cold_share` falls to this ratio of warm time to the time of a cold start; 0 if it is never reached."""
    return -log(ratio) / IDLE * 86_400 if ratio < 1 else 0.0


def prices_table() -> str:
    values = Prices()
    rows = []
    for field in fields(Prices):
        unit = UNITS[field.name]
        usd = f"{getattr(values, field.name) * unit.per:.10f}".rstrip("0")
        whole, _, cents = usd.partition(".")
        per = f"{unit.per:,} " if unit.per > 1 else ""
        rows.append([f"`{field.name}`", f"{per}{unit.of}", f"{whole}.{cents:0<2}", unit.seen])
    return table(["name", "what", "USD", "checked against"], rows, numbers_from=2).replace("---: | ---:", "---: | ---")


def inputs_table() -> str:
    usage = Usage()
    computed = {"COLD": "by the rate, below", "INIT_MS": "by the bench, below", "MEMORY": "as in the template"}
    return table(
        ["number", "", "unless given"],
        [
            [f"`{one.name}`", one.about, computed.get(one.name) or f"{getattr(usage, one.name.lower()):,g}"]
            for one in NUMBERS
        ],
        numbers_from=3,
    )
