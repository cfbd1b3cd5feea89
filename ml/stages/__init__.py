"""One function per stage: a DAG task, the command line and an integration test all call the same one.

Stages pass values between the steps; no step knows another. What a stage returns is JSON-ready and small: a reference.
"""
