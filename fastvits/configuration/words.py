"""Names that stand in configurations, and are passed to loaders, beside the parameters of a VITS."""

from typing import Any

# Keys that transformers gives every configuration and that say nothing about a VITS: kept as they are, readable with
# these values when absent. The constructor takes them too, so that VitsConfig(**other.to_dict()) works.
GENERAL: dict[str, Any] = {
    "architectures": None,
    "chunk_size_feed_forward": 0,
    "dtype": None,
    "id2label": None,
    "is_encoder_decoder": False,
    "label2id": None,
    "name_or_path": "",
    "_name_or_path": "",
    "problem_type": None,
    "torch_dtype": None,
    "transformers_version": None,
}
# Further names that transformers' configurations take or once took: kept where they are given.
GENERAL_WORDS = frozenset(
    {
        "add_cross_attention",
        "bos_token_id",
        "cross_attention_hidden_size",
        "decoder_start_token_id",
        "eos_token_id",
        "finetuning_task",
        "is_decoder",
        "num_labels",
        "prefix",
        "pruned_heads",
        "sep_token_id",
        "task_specific_params",
        "tie_encoder_decoder",
        "tie_word_embeddings",
        "tokenizer_class",
        "torchscript",
        "use_bfloat16",
        "use_cache",
    }
)
# Arguments of transformers' loaders that ask for what holds anyway: no code of a repository is ever run.
LOADER_WORDS = frozenset(
    {"_commit_hash", "_from_auto", "_from_pipeline", "mirror", "proxies", "resume_download", "trust_remote_code"}
)
ATTENTIONS = (None, "eager", "sdpa")
"""What `attn_implementation` may be: attention is computed exactly, whichever of them is asked for."""

# What other VITS call a field, and what to write instead.
OTHER_WORDS = {
    "length_scale": "speaking_rate, which is its inverse",
    "noise_scale_w": "noise_scale_duration",
    "noise_w": "noise_scale_duration",
    "n_speakers": "num_speakers",
    "sample_rate": "sampling_rate",
}
NEAR = 0.8
"""How alike an attribute's name and a field's are where the one counts as the other misspelt, as `difflib` measures."""
