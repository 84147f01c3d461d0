"""Depth estimators of every kind that transformers knows, made tiny."""

from pathlib import Path

from pipeline_steps.models.teacher import draw_teacher

VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "patch_size": 4,
    "image_size": 32,
}
DINO = {
    **VIT,
    "model_type": "dinov2",
    "out_indices": [1, 2, 3, 4],
    "reshape_hidden_states": False,
    "apply_layernorm": True,
}
NECK = {"neck_hidden_sizes": [8, 12, 16, 24], "fusion_hidden_size": 8}
TINY = {
    **NECK,
    "backbone_config": DINO,
    "patch_size": 4,
    "reassemble_hidden_size": 32,
    "head_hidden_size": 8,
}
STAGES = [f"stage{i}" for i in range(1, 5)]
LOOK = DINO | {"image_size": 16}

ARCHITECTURES = {
    "depth_anything": TINY,
    "metric depth_anything": TINY | {"depth_estimation_type": "metric", "max_depth": 20},
    "prompt_depth_anything": TINY | {"model_type": "prompt_depth_anything"},
    "dpt": VIT | NECK | {"model_type": "dpt", "backbone_out_indices": [0, 1, 2, 3]},
    "dpt on dinov2": NECK | {"model_type": "dpt", "backbone_config": DINO, "hidden_size": 32},
    "dpt on swinv2": {
        "model_type": "dpt",
        "backbone_config": {
            "model_type": "swinv2",
            "embed_dim": 8,
            "depths": [1, 1, 1, 1],
            "num_heads": [1, 1, 2, 2],
            "window_size": 4,
            "image_size": 64,
            "out_features": STAGES,
        },
        "neck_hidden_sizes": [8, 16, 32, 64],
        "fusion_hidden_size": 8,
    },
    "hybrid dpt": {
        **VIT,
        "model_type": "dpt",
        "is_hybrid": True,
        "image_size": 64,
        "patch_size": 16,
        "backbone_featmap_shape": [1, 32, 4, 4],
        "backbone_out_indices": [0, 1, 2, 3],
        "neck_hidden_sizes": [8, 16, 24, 32],
        "fusion_hidden_size": 8,
        "backbone_config": {
            "model_type": "bit",
            "embedding_size": 8,
            "hidden_sizes": [8, 16, 32, 32],
            "depths": [1, 1, 1, 1],
            "num_groups": 2,
            "layer_type": "bottleneck",
            "global_padding": "same",
            "out_features": STAGES[:3],
            "embedding_dynamic_padding": True,
        },
    },
    "glpn": {
        "model_type": "glpn",
        "hidden_sizes": [8, 8, 16, 16],
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 1, 2, 2],
        "decoder_hidden_size": 8,
        "max_depth": 10,
    },
    "zoedepth": {
        **NECK,
        "model_type": "zoedepth",
        "backbone_config": {
            **VIT,
            "model_type": "beit",
            "out_features": STAGES,
            "reshape_hidden_states": False,
            "use_relative_position_bias": True,
        },
        "bottleneck_features": 8,
        "num_attractors": [4, 2, 1, 1],
        "bin_embedding_dim": 8,
        "num_relative_features": 8,
    },
    "depth_pro": {
        "model_type": "depth_pro",
        "patch_size": 16,
        "fusion_hidden_size": 8,
        "intermediate_hook_ids": [3, 1],
        "intermediate_feature_dims": [8, 8],
        "scaled_images_feature_dims": [8, 8, 8],
        "image_model_config": LOOK,
        "patch_model_config": LOOK,
        "fov_model_config": LOOK,
        "merge_padding_value": 1,
    },
    "chmv2": {
        "model_type": "chmv2",
        "backbone_config": DINO
        | {
            "model_type": "dinov3_vit",
            "num_register_tokens": 4,
            "reshape_hidden_states": True,
            "return_class_token": True,
        },
        "patch_size": 4,
        "post_process_channels": [8, 12, 16, 24],
        "fusion_hidden_size": 8,
        "head_hidden_size": 8,
        "number_output_channels": 8,
    },
    "tipsv2_dpt": {
        **NECK,
        "model_type": "tipsv2_dpt",
        "backbone_config": DINO | {"model_type": "tipsv2_vision_model"},
        "num_depth_bins": 8,
    },
}
"""Name → transformers config."""


def write_teacher(folder: Path, name: str = "depth_anything", spread: float = 0.15) -> Path:
    """Write random weights, wide enough for an answer with relief, in the hub's layout."""
    draw_teacher(ARCHITECTURES[name] | {"initializer_range": spread}, 0).save_pretrained(folder)
    return folder
