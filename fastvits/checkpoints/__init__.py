"""Voices of other programs in: what their files hold, under the names of ours."""
