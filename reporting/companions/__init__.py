"""Companions of the findings report: the same result for viewers and archives that make nothing of a Structured Report.

None of them replaces the report (IHE RAD AIR: they lack machine-readable semantics), and none can say more than it says.
"""
