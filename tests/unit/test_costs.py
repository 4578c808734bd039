"""The bill: arithmetic checked by hand, the user's numbers, and the formula of the page."""

import json
import re
from dataclasses import fields, replace
from math import e

import pytest

from tools.costs.__main__ import main
from tools.costs.bill import MONTH, NUMBERS, Usage, bill, cold_share, not_deployed, traced, vcpu, works
from tools.costs.counted import CHECK, between
from tools.costs.measured import Bench, Deployed, call_times, deployed, our_bench, our_template
from tools.costs.page import details, most_a_day
from tools.costs.prices import UNITS, Prices, WrongNumber
from tools.exit_status import Exit

BENCH = Bench(
    cpu_1=10, cpu_10=1, cold_start=110, import_=80, memory=46, memory_after=55, calls_30=16, billed={}, machine=""
)
"""10 ms an invocation, none a message, 100 ms more for a cold start."""
THERE = Deployed(alarm_metrics=17, composite_alarms=2, dashboards=1, memory=256)
PLAIN = Usage(detaches=1000, seconds=30, cloud_ms=100, aws_ms=10, memory=2048, cold=0.5)


def usd(usage: Usage, prices: Prices = Prices()) -> dict[str, float]:  # noqa: B008 - frozen
    return {line.what: line.usd for line in bill(usage, prices, BENCH, THERE).lines}


def quantities(usage: Usage) -> dict[str, float]:
    return {line.what: line.quantity for line in bill(usage, Prices(), BENCH, THERE).lines}


# ------------------------------------------------------------------------------------------------ by hand


def test_a_plain_month() -> None:
    """A thousand detaches of 30 s, with 12 looks and 16 calls each; every line is calculated by hand."""
    assert usd(PLAIN) == pytest.approx(
        {
            "Lambda, requests": 12_000 * 0.20e-6,
            # 16 calls of 100 ms, and 12 looks of 10 ms CPU and 10 ms for a call to AWS; 2 GB
            "Lambda, duration": 1000 * 1.840 * 2 * 1.33334e-5,
            # half of them begin cold: 100 ms, and a login
            "Lambda, cold starts (INIT, login)": 500 * 0.200 * 2 * 1.33334e-5,
            # 1,000 requests sent, 12,000 received, 12,000 deleted, 11,000 continuations sent
            "SQS, requests": 36_000 * 0.40e-6,
            # two queues, five pollers, a poll every 20 s of 730 hours
            "SQS, empty polls": 1_314_000 * 0.40e-6,
            "EventBridge, events": 1000 * 1e-6,
            "EventBridge, archive": 0.00195 * 0.123,
            # 17.8 kB of our own and 12 times 500 bytes of Lambda's
            "CloudWatch, logs": 0.0238 * 0.53,
            "CloudWatch, custom metrics": 11 * 0.30,
            "CloudWatch, alarms": 17 * 0.10 + 2 * 0.50,
            "CloudWatch, dashboard": 3.00,
            "X-Ray, traces": 12_000 * 5e-6,
            "Secrets Manager, secrets": 2 * 0.40,
            "Secrets Manager, calls": 2200 * 0.05 / 10_000,
            "KMS, keys": 0,
            "KMS, calls": 0,
            "VPC, endpoints": 0,
            "VPC, NAT gateways": 0,
        }
    )


def test_batches_share_invocations_and_waiting() -> None:
    """Ten messages in a batch: a tenth of the invocations, and ten servers are waited for together."""
    found = quantities(replace(PLAIN, batch=10))

    assert found["Lambda, requests"] == 1200
    assert found["Lambda, duration"] == pytest.approx(2 * (172 + 12))
    assert found["SQS, requests"] == 1000 + 2 * 1200 + 1100


def test_a_canary_adds_its_own_looks() -> None:
    """Every quarter of an hour: two invocations, both of them cold, one event, and messages in two queues."""
    before, after = quantities(PLAIN), quantities(replace(PLAIN, canary=2920))

    assert after["Lambda, requests"] - before["Lambda, requests"] == 2 * 2920
    assert after["EventBridge, events"] - before["EventBridge, events"] == 2920
    assert after["SQS, requests"] - before["SQS, requests"] == 6 * 2920
    # The look: 3 calls of 100 ms, CPU and a call to AWS; the canary waits for it, and for 500 ms of queue and bus.
    assert after["Lambda, duration"] - before["Lambda, duration"] == pytest.approx(2920 * (0.320 + 0.860) * 2)
    init = "Lambda, cold starts (INIT, login)"
    assert after[init] - before[init] == pytest.approx(2920 * (3 * 0.100 + 2 * 0.100) * 2)


def test_a_canary_every_five_minutes_keeps_the_function_warm() -> None:
    month = bill(replace(PLAIN, canary=8760, cold=None), Prices(), BENCH, THERE)

    assert month.cold == 0
    assert quantities(replace(PLAIN, canary=8760, cold=None))["Lambda, cold starts (INIT, login)"] == 0


def test_the_webhook_adds_an_invocation_and_a_secret() -> None:
    before, after = quantities(PLAIN), quantities(replace(PLAIN, webhook=0.5))

    assert after["Lambda, requests"] - before["Lambda, requests"] == 500
    assert after["Secrets Manager, secrets"] == 3


def test_fixed_costs_are_paid_without_requests() -> None:
    """Keys, endpoints and gateways cost by the month or the hour."""
    month = bill(Usage(detaches=0, keys=1, endpoints=6, nats=1), Prices(), BENCH, THERE)

    assert month.usd == month.standing
    found = {line.what: line.usd for line in month.lines}
    assert found["KMS, keys"] == 1
    assert found["KMS, calls"] == pytest.approx(43_800 * 0.03 / 10_000)
    assert found["VPC, endpoints"] == pytest.approx(43.80)
    assert found["VPC, NAT gateways"] == pytest.approx(32.85)


def test_own_prices() -> None:
    prices = Prices().but("trace=0 dashboard_month=6")

    assert (usd(PLAIN, prices)["X-Ray, traces"], usd(PLAIN, prices)["CloudWatch, dashboard"]) == (0, 6)


def test_metrics_are_billed_by_the_hour() -> None:
    """Three detaches a day write in 90 of 730 hours."""
    assert quantities(replace(PLAIN, detaches=90))["CloudWatch, custom metrics"] == pytest.approx(11 * 90 / 730)


def test_rare_requests_have_more_cold_starts() -> None:
    """With 4,380 a month, one every ten minutes, the function was idle for longer in 1/e of all cases."""
    assert cold_share(0) == 1
    assert cold_share(4380) == pytest.approx(1 / e)
    assert cold_share(90) > 0.97


def test_where_cold_starts_are_half() -> None:
    """As long as half of all requests begin cold, if a cold start takes twice as long as a warm detach."""
    assert cold_share(most_a_day(0.5) * MONTH / 86_400) == pytest.approx(0.5)
    assert most_a_day(1.5) == 0


def test_cpu_comes_with_memory() -> None:
    assert (vcpu(1769), vcpu(3538), vcpu(884.5)) == (1, 1, 0.5)


def test_init_is_slower_with_less_memory() -> None:
    """Unless the user sets INIT_MS."""
    half = replace(PLAIN, memory=884.5)

    assert works(half, BENCH, 884.5).detaches.cold_ms == 200 + 100
    assert works(replace(half, init_ms=7), BENCH, 884.5).detaches.cold_ms == 7 + 100


def test_traces_beyond_one_a_second_are_sampled() -> None:
    assert traced(1000) == 1000
    assert traced(MONTH + 1_000_000) == MONTH + 50_000


def test_between_two_lengths() -> None:
    """Halfway between 30 s and 60 s there are 13.5 invocations; durations outside of the table use its ends."""
    assert (between(45).invocations, between(45).calls) == (13.5, 18)
    assert between(45).metrics == 12
    assert between(0.1).invocations == between(1).invocations
    assert between(9e9).invocations == between(3600).invocations


# ---------------------------------------------------------------------------------------- what is measured


def test_alarms_are_counted_by_metric() -> None:
    """An alarm on an expression is billed for each metric in it; one whose condition does not hold is not there."""
    template = """
Parameters: {Memory: {Type: Number, Default: 512}}
Globals: {Function: {MemorySize: !Ref Memory}}
Resources:
  Plain: {Type: "AWS::CloudWatch::Alarm", Properties: {MetricName: Errors, Threshold: !Sub "${Memory}"}}
  Both:
    Type: AWS::CloudWatch::Alarm
    Properties: {Metrics: [{Expression: a + b}, {MetricStat: {}}, {MetricStat: {}}]}
  Canary: {Type: "AWS::CloudWatch::Alarm", Condition: HasCanary, Properties: {MetricName: Errors}}
  Any: {Type: "AWS::CloudWatch::CompositeAlarm", Properties: {AlarmRule: x}}
  Board: {Type: "AWS::CloudWatch::Dashboard", Properties: {}}
"""
    assert deployed(template, {"HasCanary"}) == Deployed(3, 1, 1, 512)
    assert deployed(template) == Deployed(4, 1, 1, 512)


def test_conditions_follow_from_the_numbers() -> None:
    assert not_deployed(Usage()) == {"HasSink", "HasCanary", "HasWebhook"}
    assert not_deployed(Usage(canary=1, webhook=0.1)) == {"HasSink"}


def test_the_cpu_of_an_invocation_and_of_a_message() -> None:
    """A batch of one takes both; a message in a batch of ten takes the second and a tenth of the first."""
    bench = our_bench()

    assert bench.per_invocation + bench.per_message == pytest.approx(bench.cpu_1)
    assert bench.per_invocation / 10 + bench.per_message == pytest.approx(bench.cpu_10)


def test_times_of_recorded_calls() -> None:
    texts = ["(took 0.010 s)\n", "(took 0.030 s)\nelse\n(took 0.020 s)\n"]

    assert (call_times(texts).calls, call_times(texts).median) == (3, 20)


# --------------------------------------------------------------------------------------- numbers of people


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("DETACHES=many", "DETACHES=many: give a number from 0 to 1,000,000,000, detaches a month (one disk each)"),
        ("COLD=1.1", "COLD=1.1: give a number from 0 to 1, the share of requests that begin with a cold start"),
        ("MEMORY=256.5", "MEMORY=256.5: give a whole number from 128 to 10,240, MB of memory of each function"),
        ("CLOUD_MS=nan", "CLOUD_MS=nan: give a number from 1 to 36,000, milliseconds that one call to the cloud takes"),
        ("BATCH=", "BATCH=: give a number from 1 to 10, messages in one invocation, on average"),
        ("DETACH=3", "'DETACH=3' is not known; write NAME=number, with one of DETACHES, "),
        ("DETACHES", "'DETACHES' is not known; write NAME=number, with one of DETACHES, "),
        ("PRICES=log=1", "PRICES: there is no price 'log'; there are lambda_request, "),
        ("PRICES=log_gb=-1", "PRICES: log_gb=-1 is not a price; write US dollars for one unit, such as log_gb=0.5"),
    ],
)
def test_a_wrong_number_is_named(word: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Standard error says what is wrong and what is allowed; standard output stays empty."""
    assert main([word]) is Exit.USAGE
    said = capsys.readouterr()
    assert said.err.startswith(says)
    assert said.out == ""


def test_the_table_for_a_person(capsys: pytest.CaptureFixture[str]) -> None:
    """The numbers, the lines that cost something, and the total."""
    assert main(["DETACHES=3000", "MEMORY=512"]) == 0
    first, second, _, *lines = capsys.readouterr().out.splitlines()

    assert first == "3,000 detaches a month of 30 s each; 300 ms a call to the cloud; 512 MB; 1 in a batch"
    assert second.startswith("50% of them begin with a cold start")
    assert not [line for line in lines if "KMS" in line or "VPC" in line]
    *costs, total, standing = (float(line.split()[-1].replace(",", "")) for line in lines)
    assert total == pytest.approx(sum(costs), abs=0.05)
    assert standing < total


def test_the_bill_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Every line, also those that cost nothing, and the numbers that were used."""
    assert main(["DETACHES=10", "COLD=0.25", "KEYS=2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)

    assert said["usd"] == pytest.approx(sum(line["usd"] for line in said["lines"]))
    assert (said["numbers"]["detaches"], said["numbers"]["cold"], said["numbers"]["keys"]) == (10, 0.25, 2)
    assert said["numbers"]["memory"] == deployed(our_template()).memory


def test_every_number_and_every_price_is_explained() -> None:
    """The names of numbers and prices match the fields of the calculation."""
    assert [number.name.lower() for number in NUMBERS] == [field.name for field in fields(Usage)]
    assert list(UNITS) == [field.name for field in fields(Prices)]
    with pytest.raises(WrongNumber, match="no price 'x'"):
        Prices().but("x=1")


# ------------------------------------------------------------------------------------------------ the page


DETAILS = details()


def formula(quantity: str) -> str:
    """The formula of a quantity in the details, as Python."""
    (found,) = re.findall(rf"^\| {re.escape(quantity)} \| (.*) \|$", DETAILS, re.MULTILINE)
    first = re.split(r"[:;]|, with|, kept", found)[0].replace("·", "*").replace(" kB", "")
    return first.rpartition(" = ")[2]


@pytest.mark.parametrize(
    "usage",
    [
        Usage(detaches=3000, seconds=30, cloud_ms=300, batch=2, memory=256, canary=2920, webhook=0.5, init_ms=400),
        Usage(detaches=90, seconds=600, cloud_ms=100, memory=1024, cold=0.3, canary=100, init_ms=300),
    ],
)
def test_the_formula_of_the_page_is_the_arithmetic(usage: Usage) -> None:
    """A spreadsheet made from the page has the quantities of the bill."""
    bench, memory = our_bench(), usage.memory or 0
    one, names = between(usage.seconds), {number.name: getattr(usage, number.name.lower()) for number in NUMBERS}
    names |= {"D": usage.detaches, "B": usage.batch, "W": usage.webhook, "K": usage.canary, "T": MONTH, "min": min}
    names |= {"I": one.invocations, "C": one.calls, "E": one.events, "L": one.log_bytes / 1000, "M": one.metrics}
    names |= {"c": cold_share, "v": vcpu(memory), "COLD": usage.cold or cold_share(usage.detaches)}
    names["p"] = eval(formula("CPU of a look, ms"), {}, names)
    names["a"] = bench.cpu_1 / vcpu(memory) + usage.aws_ms
    names["N"] = eval(formula("invocations"), {}, names)
    month = bill(usage, Prices(), bench, THERE)
    found = {line.what: line.quantity for line in month.lines}
    gb = memory / 1024

    def by_page(quantity: str) -> float:
        return float(eval(formula(quantity), {}, names))

    assert names["N"] == pytest.approx(found["Lambda, requests"])
    assert by_page("billed, warm, ms") / 1000 * gb == pytest.approx(found["Lambda, duration"], rel=0.01)
    cold = found["Lambda, cold starts (INIT, login)"]
    assert by_page("billed, cold starts, ms") / 1000 * gb == pytest.approx(cold)
    assert by_page("SQS requests") == pytest.approx(found["SQS, requests"])
    assert by_page("logs") / 1e6 == pytest.approx(found["CloudWatch, logs"])
    assert by_page("custom metrics") == pytest.approx(found["CloudWatch, custom metrics"])
    assert by_page("events") == found["EventBridge, events"]


def test_the_page_says_what_a_dry_run_is() -> None:
    assert f"| a dry run | {CHECK.invocations} | {CHECK.calls} |" in DETAILS
