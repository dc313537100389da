"""What in charts/stoker is made from other files: copies of the CRDs and admission policies, and the schema of values.

`PYTHONPATH=dev python -m chart` writes them; a test fails when they differ.
"""
