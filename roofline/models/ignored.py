"""Fields of a ``config.json`` that leave a model's cost as it is, and how to tell the others by their name.

A file has dozens of fields that no reader asks for. Those here are known to be harmless: they are left alone however
near they come to another field's name. Of the rest, one that speaks of size is refused rather than overlooked.
"""

from __future__ import annotations

import re

_NAMES = """
    _attn_implementation _attn_implementation_autoset _commit_hash _experts_implementation _flash_attn_2_enabled
    _name_or_path _roofline
    activation activation_dropout activation_function add_cross_attention afn architectures asm attention_dropout
    attention_in_multiplier attention_multiplier attention_out_multiplier attention_probs_dropout_prob
    attention_softmax_in_fp32 attn_logit_softcapping attn_pdrop attn_scale attn_temperature_tuning auto_map
    aux_loss_alpha aux_loss_coef bad_words_ids begin_suppress_tokens bos_token_id causal chunk_size_feed_forward
    classifier_activation classifier_bias classifier_dropout classifier_dropout_prob classifier_proj_size clip_qkv
    cls_token_id context_length cross_attention_hidden_size custom_pipelines decoder_layerdrop
    decoder_start_token_id diversity_penalty do_sample dropout dropout_p dtype early_stopping emb_pdrop embd_pdrop
    embed_dropout embed_init_std embedding_dropout embedding_initializer_range embedding_multiplier
    enable_moe_fp32_combine encoder_layerdrop encoder_no_repeat_ngram_size end_n_top eod_token_id eos_token_id
    ep_size eps expert_selection_fn exponential_decay_length_penalty ff_activation final_logit_softcapping
    final_w_init_variance_scale finetuning_task floor_scale forced_bos_token_id forced_eos_token_id gelu_activation
    hidden_act hidden_activation hidden_dropout hidden_dropout_prob id2label ignore_index image_token_id
    image_token_index init_device init_std initial_context_length initializer_cutoff_factor initializer_factor
    initializer_range input_jitter_noise is_decoder is_encoder is_encoder_decoder keys_to_ignore_at_inference
    label2id lambda_std_dev layer_norm_eps layer_norm_epsilon layer_rope_theta layerdrop layernorm_epsilon
    length_penalty lm_head_multiplier log_scaling_alpha log_scaling_n_floor logit_scale logits_scaling
    logits_soft_cap mask_feature_length mask_feature_min_masks mask_feature_prob mask_index mask_time_length
    mask_time_min_masks mask_time_prob mask_token_id max_length max_window_layers min_length mlp_dropout
    mlp_multipliers model_type moe_apply_router_weight_on_input moe_norm_min moe_renormalize
    moe_routed_scaling_factor moe_router_activation_func moe_router_dtype moe_router_logit_softcapping
    moe_router_scaling_factor moe_shared_expert_overlap mup_enabled n_ctx n_group no_repeat_ngram_size norm_eps
    norm_epsilon norm_topk_prob num_beam_groups num_beams num_expert_group num_hash_layers num_image_tokens
    num_logits_to_keep num_return_sequences original_max_position_embeddings output_attentions output_hidden_states
    output_router_logits output_scores pad_token_id pooling position_embedding_type prefix prefix_lm pretraining_tp
    problem_type pruned_heads qk_head_dim quantization_config query_pre_attn_scalar remove_invalid_values
    reorder_and_upcast_attn repetition_penalty rescale_prenorm_residual resid_dropout resid_pdrop residual_dropout
    residual_in_fp32 residual_multiplier return_dict return_dict_in_generate rms_norm_eps rope_interleave
    rope_local_base_freq rope_scaling rope_theta rotary_value route_scale routed_scaling_factor router_aux_loss_coef
    router_jitter_noise router_scaling_factor scale_attention_softmax_in_fp32 scale_attn_by_inverse_layer_idx
    scale_attn_weights scale_depth scale_emb scale_embedding scoring_func seed sep_token_id seq_aux slow_but_exact
    start_n_top summary_activation summary_first_dropout summary_last_dropout summary_proj_to_labels summary_type
    summary_use_proj suppress_tokens swiglu_alpha swiglu_limit task_specific_params temperature tf_legacy_loss
    tie_encoder_decoder tokenizer_class top_k top_p topk_group topk_method torchscript transformers_version
    typical_p unk_index unpadded_vocab_size unsloth_fixed unsloth_version use_associative_scan use_bfloat16
    use_bidirectional_attention use_cache use_flash_attn use_mamba_kernels use_mambapy use_mems_eval
    use_mems_train z_loss_coefficient
"""

#: Fields that configuration classes of transformers and published files have, and that no size depends on.
HARMLESS = frozenset(_NAMES.split())

#: What those that are not listed end in.
_HARMLESS_ENDS = re.compile(
    r".*_(token_ids?|token_index|eps|epsilon|dropout|dropout_prob|pdrop|prob|std|coef|coeff|loss|alpha|beta|theta|dtype"
    r"|act|activation|factor|factors|multiplier|multipliers|scale|scaling|softcapping|cap|func|fn|penalty|init"
    r"|placeholder|implementation|version|kernels?|range|temperature)"
)

#: What the name of a field that decides over sizes contains.
_SIZE = re.compile(
    r"expert|moe|mamba|ssm|conv|head|window|sliding|layer|(^|_)dim|rank|lora|state_size|index_|block|mtp|nextn"
    r"|intermediate|ffn|ff_|hidden_size|vision|audio|tower|altup|laurel|recurren|(^|_)kv_|linear_|ngram|codebook"
    r"|loop|adapter|hash|latent|num_|n_groups|pattern|vocab_size|gate_rank|bias|norm"
)

#: What the name of a switch that decides over sizes contains: most switches are about how to compute.
_SWITCHES = re.compile(r"moe|mamba|expert|ssm|sliding|window|recurren|adapter")


def changes_nothing(key: str) -> bool:
    """Whether a field is known by its full name to leave every size alone."""
    return key in HARMLESS


def speaks_of_size(key: str, value: object) -> bool:
    """Whether a field that nobody read may say how large a model is: by its name, and by a value that is not none."""
    if not value or key in HARMLESS or _HARMLESS_ENDS.fullmatch(key) or not _SIZE.search(key):
        return False
    if isinstance(value, bool):
        return bool(_SWITCHES.search(key))
    return not isinstance(value, str) or "pattern" in key
