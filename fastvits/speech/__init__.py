"""A text to sound, and what stands on it: the pipeline, long texts, timestamps, subtitles."""
