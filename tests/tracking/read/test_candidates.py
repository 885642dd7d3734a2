from __future__ import annotations

from dwp_sweep.tracking.read.candidates import Stat


def test_a_mean_and_its_spread_are_written_for_each_place_that_shows_them():
    two = Stat(0.73821, 0.01091, 2)

    assert str(two) == "0.738 (0.011)"
    assert two.short() == "0.7382 (0.011)"
    assert two.plus_minus() == "0.738 ± 0.011"
    assert two.explained() == "0.7382 (std 0.0109, n = 2)"


def test_of_a_single_value_no_spread_is_shown():
    single = Stat(1234.5, None, 1)

    assert (str(single), single.short(), single.plus_minus()) == ("1234.500", "1234", "1234.500")
    assert single.explained() == "1234.5000 (one run: no spread known)"
