"""What a look at a model in production finds, layer by layer: numbers in, symptoms out.

Every rule is a test for a *relevant* change given the rows at hand, as in the drift check: a fault-free fortnight
raises nothing. Too few rows are no symptom and no pass; the report says so in a note.
"""
