"""Every tolerance that a test uses: the only place where such numbers stand.

Errors are relative RMS distances, ``rms(actual - expected) / rms(expected)``, unless a constant says otherwise. Each
constant has a comment that says why it has its value, with what was measured where something was. No environment
variable loosens one.
"""
