"""The live metrics of a canary: each takes a window and a case, and returns its verdicts.

A metric fails when the canary's change is beyond its limit *and* an anytime-valid test at the metric's share of
``alpha`` says that this is no accident. Beyond the limit without that it is inconclusive. Without data it is
inconclusive: never a pass.
"""
