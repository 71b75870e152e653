import pytest

from slimprune.report import latency_markdown, latency_page, latency_table, markdown, page

from .documents import document

ROW = {
    "engine": "torch",
    "device": "cpu (Some Processor)",
    "batch": 8,
    "threads": 2,
    "version": "torch 2.9.0",
    "dense_ms": 123.456,
    "slim_ms": 9.876,
    "speedup": 12.5,
    "iqr": {"dense": [120.0, 130.0], "slim": [9.5, 10.04]},
    "interval": [12.1, 12.88],
    "confidence": 0.99,
    "pairs": 200,
    "verdict": "12.50 times faster",
    "disturbed": 0.01,
    "macs": {"dense": 1000, "slim": 50, "reduction": 20.0},
    "realised_share": 0.625,
}
ALIKE = {**ROW, "engine": "train", "speedup": 1.01, "interval": [0.98, 1.03], "verdict": "no difference"}
DOCUMENT = {
    "bundle": "a.slim",
    "against": "dense",
    "inputs": {"shape": [3, 32, 32], "kind": "synthetic"},
    "method": {"pairs": 200},
    "environment": {"device": "cpu", "load_average": 0.1},
    "latency": [ROW, ALIKE],
}
WHERE = "cpu (Some Processor), 2 threads, torch 2.9.0; MACs divided by 20.00; 99 % intervals"


def test_all_columns_as_markdown() -> None:
    assert latency_table([ROW]).splitlines() == [
        "| engine | batch | dense ms | slim ms | speed-up | of MACs | pairs | verdict |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
        "| torch | 8 | 123 (120-130) | 9.88 (9.50-10.0) | 12.50 (12.10-12.88) | 62 % | 200 | 12.50 times faster |",
    ]


def test_a_narrow_terminal_gets_the_telling_columns_and_a_wide_one_all() -> None:
    text = latency_page(DOCUMENT, 80)
    assert text.replace("\n", " ").startswith(WHERE)
    assert text.splitlines()[-4:] == [
        "engine   batch   dense ms   slim ms              speed-up   of MACs",
        "───────────────────────────────────────────────────────────────────",
        "torch        8        123      9.88   12.50 (12.10-12.88)      62 %",
        "train        8        123      9.88      1.01 (0.98-1.03)      62 %",
    ]
    assert max(map(len, text.splitlines())) <= 80
    assert "(120-130)" in latency_page(DOCUMENT, 160)
    assert "no difference" in latency_page(DOCUMENT, 160)


def test_the_planned_and_the_trained_network_of_a_report_are_told_apart() -> None:
    rows = [{**ROW, "network": "planned"}, {**ROW, "network": "trained"}]
    cells = [line.split(" | ")[0] for line in latency_table(rows).splitlines()[2:]]
    assert cells == ["| torch, planned", "| torch, trained"]
    assert (
        max(map(len, latency_page({"latency": [{**row, "engine": "onnxruntime"} for row in rows]}, 80).splitlines()))
        <= 80
    )


@pytest.mark.parametrize("name", ["onnxruntime-cuda", "torch-captured", "train-fast-amp"])
def test_the_longest_engines_fit_a_narrow_terminal(name: str) -> None:
    widest = {**ROW, "engine": name, "dense_ms": 12345.6, "slim_ms": 1234.5}
    for columns in (60, 80):
        assert max(map(len, latency_page({"latency": [widest]}, columns).splitlines())) <= columns


def test_devices_and_threads_have_tables_of_their_own() -> None:
    other = {**ROW, "device": "cuda (Some Card)", "disturbed": 0.0}
    busy = {**ROW, "threads": 1, "disturbed": 0.684, "against": "b.slim"}
    text = latency_page({"latency": [ROW, other, ALIKE, busy]}, 300)
    assert [line.partition(", torch")[0] for line in text.splitlines() if "torch 2.9" in line] == [
        "cpu (Some Processor), 2 threads", "cuda (Some Card), 2 threads", "cpu (Some Processor), 1 thread",
    ]  # fmt: skip
    assert text.count("other work had the cores for up to 68 % of the time, which is left out") == 1
    assert text.count("dense stands for b.slim") == 1


def test_the_page_of_a_bench_has_its_circumstances() -> None:
    text = latency_markdown(DOCUMENT)
    parts = [
        "# a.slim against dense\n",
        "median (first to third",
        WHERE,
        "| torch | 8 |",
        "## Inputs\n\n- shape: [3, 32",
    ]
    parts += ["- kind: synthetic\n", "## Method\n\n- pairs: 200\n", "## Circumstances\n\n- device: cpu\n- load_average"]
    positions = [text.index(part) for part in parts]
    assert positions == sorted(positions)
    assert "\n\n\n" not in text


def test_a_report_shows_latency_where_it_is_there() -> None:
    timed, plain = document(latency=[ROW]), document()
    assert "## Speed\n" in markdown(timed)
    assert latency_table([ROW]) in markdown(timed)
    assert page(timed).endswith(latency_page(timed))
    assert "Speed" not in markdown(plain)
    assert "MACs divided" not in page(plain)
