"""The network: `vits.py` is the whole of it on one page; what a call asks, what it returns, and its layers."""
