"""Conformance checks for exchange blocks and aggregators, for those who write one.

    from search_spaces.testing import check_block

    def test_my_block():
        check_block("my_package.my_block:MyBlock")

A check raises AssertionError, in one line that names the property that does not hold.
"""

from search_spaces.testing.aggregators import check_aggregator
from search_spaces.testing.blocks import check_block

__all__ = ["check_aggregator", "check_block"]
