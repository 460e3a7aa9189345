"""What is measured or proved about fastvits from the outside.

Each module here is a command, `python -m bench.NAME`; what it does stands in the folder of its subject.
"""
