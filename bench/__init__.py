"""What is measured or proved about fastvits from the outside: each module is a command, `python -m bench.<module>`."""
