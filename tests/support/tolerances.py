"""Every tolerance that a test uses: the only place where such numbers stand.

Errors are relative RMS distances, ``rms(actual - expected) / rms(expected)``, unless a constant says otherwise. Each
constant has a comment that says why it has its value, with what was measured where something was. No environment
variable loosens one.
"""

import torch

PIPELINE_PARITY_FLOAT32 = 1e-5
"""The pipeline against transformers' own with one seed, and an item of a batch against itself alone, in float32: the
same operations in another order."""

OP_ERROR_FLOOR = {torch.float32: 2e-7, torch.float16: 1e-4, torch.bfloat16: 4e-3}
"""What `err(fast) <= 2 * err(eager) + floor` allows beside eager's own error: about two units of round-off of the
dtype, for the cases where eager happens to be nearly exact. bfloat16 has four: Triton's interpreter rounds it once
more than hardware."""

OP_ERROR_CEILING = {torch.float32: 2e-5, torch.float16: 5e-3, torch.bfloat16: 4e-2}
"""No op may be further from float64 than this, however bad eager is."""

GRADIENT_BEYOND_CEILING = {torch.float32: 2.0, torch.float16: 1.0, torch.bfloat16: 1.0}
"""How many times eager's error a gradient's may be where eager's own is beyond the ceiling. Behind leaky ReLUs in half
precision rounding moves signs, alike for all. In float32 only a spline with parameters of 10,000 is there, where a
knot that is rounded another way is all of the error."""

TF32_ERROR_FLOOR = 2e-3
"""The floor of that rule with TF32. Hardware may cut float32 operands down to 10 bits, each by 3.5e-4 on average, all
the same way; two operands, two products in a row. cuDNN may do without, and eager be nearly exact."""

TF32_ERROR_CEILING = 1e-2
"""And its ceiling: five times that."""

WEIGHT_NORM_REFOLDED = 1e-6
"""Each element of `g v / ||v||` in float32 against float64, relative: a few roundings of 6e-8 each."""

MODEL_FLOAT32 = 1e-5
"""The whole model in float32 against transformers, and an item alone against the same item in a batch. Measured: 2e-7
to 3e-6."""

MODEL_FLOAT64 = 1e-12
"""The same in float64."""

HALF_PRECISION_MODEL = {torch.float16: 2e-2, torch.bfloat16: 1.5e-1}
"""The waveform of a small random model whose flow and decoder are in half precision, against float32."""

PIPER_AGAINST_ONNXRUNTIME = 2e-4
"""A whole converted Piper voice against onnxruntime running its graph, no noise, in float32: another library's order of
sums, through some 160 convolutions. Measured on the real voice: 1e-5 to 4e-5."""

REAL_VOICE_FLOAT32 = 2e-4
"""A real voice in float32 with another number of threads, alone or in a batch, or in Triton's kernels: another order of
sums, which such a voice amplifies more than a small random model. Measured on random ids: up to 1e-4, where eager is
4e-5 from float64; on a word in the interpreter 1.1e-5, where eager is 6e-6 and Triton 1.2e-5 from float64."""

SPECTROGRAM_FLOAT64 = 1e-12
"""Spectrograms and mel filters in float64 against numpy's and librosa's, relative: sums of about 1,000 terms."""

SPECTROGRAM_FLOAT32 = 1e-5
"""The same in float32, of the largest magnitude: a Fourier transform of 1,024 samples."""

RESAMPLED_SINE = 1e-3
"""How far a resampled tone of amplitude 0.5 may be from the same tone, away from its ends. Measured: 1e-5."""

LEARNING_FLOAT64 = 1e-8
"""Losses and their gradients in float64 against other code on the same weights and noise, relative. Measured against
transformers' modules and the original code: 1e-15 for losses, up to 2e-10 for gradients."""

FOLDED_DECODER_FLOAT32 = 1e-6
"""A decoder trained with weight norm against the same decoder folded, in float32: one more rounding a weight."""

AVERAGED_PROCESSES = 2e-5
"""Losses of two processes, and of batches that are accumulated, against one whole batch, relative, in float32 after two
updates: sums in another order, and AdamW divides by the root of small squares."""

HALF_PRECISION_LOSSES = 2e-2
"""Losses of an update under autocast against those in float32, relative: bfloat16 has 8 bits, and a random voice's
waveform is near silence, where the log mel spectrogram is steep."""

EXPORT_AGAINST_ONNXRUNTIME = 1e-4
"""A whole exported voice in onnxruntime, piper-tts or sherpa-onnx against the model, no noise, in float32. Measured:
2e-5 on the real voice, 1e-6 on small ones."""

EXPORTED_HALF_WEIGHTS = {"float16": 5e-3, "int8": 2e-1}
"""The waveform of a small voice with the weights of flow and decoder in float16, or in 8 bits, against float32."""

RECOGNISER_WORD_ERROR_POINTS = 2.0
"""Points of word error rate between what a recogniser hears in our audio and in onnxruntime's: four words of the 212
that are read. Measured: the same words in all twenty sentences."""

RECOGNISER_WORD_ERROR_RATE = 0.15
"""Word error rate of that recogniser at all. Measured: 0.07; speech that is not English has about 1."""

RESBLOCK_REASSOCIATED = 1e-6
"""A pair against two steps, a mean against the mean of branches, in float32: the same sums of about 100 terms in
another order. Measured: up to 2e-7."""

LINEAR_IDENTITY_FLOAT64 = 1e-12
"""Each element of two ways to write one linear map in float64: sums of some tens of products, each rounded to 1e-16."""

ACTIVATION_FLOAT32 = 1e-6
"""Each element of an activation of a kernel in float32, relative to float64: some eight roundings of 6e-8, over
arguments from 1e-30 to 1e4; and of one item's sums alone against the same in a batch, which may be tiled otherwise."""

ALIGNMENT_SCORES = {torch.float32: 2e-6, torch.float64: 1e-14}
"""Log-densities with the square multiplied out against torch's own: sums of some 50 products that cancel in part.
Measured: 1e-7 and 3e-16."""

ATTENTION_PROPERTY_FLOAT32 = 2e-6
"""Each element of attention in float32 against the same sum in another order, absolute, for values of order 1: some
tens of roundings of 6e-8."""

LAYER_NORM_PROPERTY_FLOAT32 = 5e-6
"""Each element of a layer normalisation against an equal one by another way, absolute, for values of order 1: the
division by the standard deviation and the sums over some tens of channels round by 6e-8 each, magnified by the shift
of the input."""

SPLINE_KNOT_MARGIN = 1e-2
"""How far from a knot, as a share of its bin, a spline's input counts as clear of ties: float32 knots near 5 are off
by some 1e-6, and the smallest bin is 1e-2 wide."""

SPLINE_ROUND_TRIP = 1e-5
"""The inverse after the spline in float32: relative to the bound and to the number of bins."""

SPLINE_AT_BOUNDS = 1e-6
"""The spline at its bounds, relative, and the logarithm of its derivative there, in float32. Measured: exact; a GPU's
division is off by up to two units of round-off."""

SPLINE_FLOAT32 = 1e-5
"""The spline in float32 against float64, relative RMS, parameters to 1e4. Measured: 2e-6, and 4e-6 for the
log-determinant, from knots near 5 that are off by 2e-7 beside bins of 1e-2."""

SPLINE_GRADIENTS_UNDONE = 1e-3
"""Gradients through the spline and back through its inverse in float32, which are 1 for the input, and for parameters 0
beside those of the inverse alone: this one is at an output that is rounded, which steep bins magnify. Measured: 1.7e-4
for the input, 3e-5 for parameters, eager alike."""

SPLINE_DERIVATIVE_FLOAT64 = 1e-9
"""The log-determinant against autograd's derivative in float64."""

GATE_ELEMENTWISE = 1e-6
"""Each element of the gate in float32, relative: four divisions and exponentials with two units of round-off each."""

ONSET_AFTER_PAUSE_FRAMES = 2
"""Frames between a word's start in timestamps and the moment that its energy rises after a pause. Measured on the
bundled voice, on 35 words: 32 within two frames, 28 within one; the other three begin with a breath ("which", "when",
"he")."""

BREATHY_ONSET_FRAMES = 6
"""The same for a word that begins with an h or wh, whose breath is 30 dB below the vowel. Measured: 3 to 6."""

ONSETS_WITHIN_SHARE = 0.9
"""Share of all words after a pause that must be in time. Measured: 0.91 to 0.95."""

ONSET_LEVEL = 0.03
"""Loudness, as a share of the loudest frame, that counts as heard: 30 dB below it; pauses lie 60 to 80 dB below."""

LONG_TEXT_MEMORY_GROWTH = 0.05
"""By what share the peak memory of an hour's text may exceed that of its first ten minutes: what the allocator cuts up,
and the odd sentence that is longer than all before it."""

DURATION_TIE = 1e-4
"""Frames from an integer below which a duration counts as a tie: `ceil` may then go either way by rounding."""

COMPRESSED_AUDIO = {"mp3": 0.02, "ogg": 0.06, "opus": 0.06}
"""What an encoder may lose of a tone, relative RMS after its gain. Measured: 0.007 for MP3, 0.037 for Opus."""

LOUDNESS_UNITS = 0.05
"""LU between our meter of loudness and FFmpeg's, which rounds. Measured: 0.01."""

PIPER_PEAK = 2e-3
"""A sample scaled to full scale, onnxruntime's against ours: the distance of the models, scaled up with them."""

MP3_SAMPLE = 0.1
"""The committed sample, an MP3 of some 50 kbit a second, against what the voice says now. Measured: 0.033; another seed
is beyond 1, a shift by one sample 0.26."""

LONGEST_PIECE_SECONDS = 25
"""Seconds that a piece of a long text may last. Measured on 220 characters of an address: 13 to 20 (47 uncut)."""

EDGE_SAMPLE = 0.02
"""The first and the last sample of a short text, of full scale. Measured on 40 texts and four seeds: 0.006, 0.0002."""

QUIET_START = 0.05
"""The loudest sample of a short text's first 5 ms. Measured there: 0.02, of words that begin with an r."""

QUIET_END = 1e-3
"""RMS of a short text's last 30 ms: its last sound is over. Measured there: 0.0001, with a whole text's RMS of 0.07."""

LOUDEST_PEAK = 0.95
"""The peak of a short text, which is nowhere near clipping. Measured there: 0.74."""

INT8_MODEL = 1e-1
"""The waveform of a small random model with 8-bit numbers in flow and decoder, against float32."""
