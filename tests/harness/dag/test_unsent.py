from __future__ import annotations

from dwp_sweep.harness.dag.unsent import Unsent
from tests.harness.toy_stages import toy_node

ONE, TWO = toy_node("target", "one"), toy_node("target", "two")


def test_what_mlflow_lacks_is_said_in_words_until_it_has_arrived() -> None:
    unsent = Unsent(now=lambda: 1_000.0)
    assert unsent.text() == ""
    assert unsent.reported(ONE, 880_000)
    assert not unsent.reported(TWO, 940_000), "the second node to meet one outage is no news"
    assert unsent.text() == (
        "MLflow lacks epochs of 2 running nodes for 2 min; they are kept, and sent once it answers"
    )
    unsent.reported(ONE, 0)
    unsent.closed(TWO, is_unsent=True)
    unsent.problem = "the connection is refused"
    assert unsent.text() == (
        "MLflow lacks the ends of 1 node (the connection is refused); they are kept, and sent once it answers"
    )
    unsent.sent(TWO)
    assert unsent.text() == ""
