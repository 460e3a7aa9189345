"""piper-tts without a network: it makes phonemes."""

from piper.config import PhonemeType, PiperConfig
from piper.voice import PiperVoice


def piper_voice(espeak_voice: str) -> PiperVoice:
    """piper-tts with a voice that has a front end only."""
    config = PiperConfig(
        num_symbols=256,
        num_speakers=1,
        sample_rate=22050,
        espeak_voice=espeak_voice,
        phoneme_id_map={},
        phoneme_type=PhonemeType.ESPEAK,
    )
    return PiperVoice(session=None, config=config)
