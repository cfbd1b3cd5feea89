"""Fourgate's pipeline without Airflow: everything that can run in a plain Python process."""
