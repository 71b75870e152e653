from slimprune.types import under


def test_what_is_heard_goes_on_under_another_name() -> None:
    heard: list[tuple[str, int, int, str]] = []
    under("whole", lambda *event: heard.append(event))("part", 1, 2, "first")
    assert heard == [("whole", 1, 2, "first")]
