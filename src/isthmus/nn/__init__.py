"""Inside models: activation taps, stitching, compatible training, shaping, new modalities.

Everything here needs PyTorch (``pip install 'isthmus[torch]'``); the names load when first used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from isthmus.errors import missing_extra

if TYPE_CHECKING:
    from isthmus.nn.ablation import (
        Ablation,
        ablate,
    )
    from isthmus.nn.augment import (
        Blur,
        ChannelDropout,
        Compose,
        Gain,
        Noise,
        Resample,
    )
    from isthmus.nn.batches import (
        Batches,
    )
    from isthmus.nn.compact import (
        compact_table,
        distil,
        prune_weights,
        quantise,
        remove_units,
        size_of,
        truncate,
    )
    from isthmus.nn.compat import (
        Classified,
        CompatibilityMatrix,
        CosineHead,
        ForwardTransform,
        LambdaAdapters,
        TrainedEncoder,
        UncertainTransform,
        class_means,
        compatibility_matrix,
        encode,
        extended_classifier,
        paired_change,
        partial_backfill,
        train_bct,
        train_fastfill,
        train_forward,
        train_independent,
        train_lambda_adapters,
        train_simplex,
        transform_rows,
    )
    from isthmus.nn.fisher import (
        fisher_diagonal,
    )
    from isthmus.nn.layers import (
        LayerComparison,
        compare_layers,
    )
    from isthmus.nn.loop import (
        Trained,
        train,
    )
    from isthmus.nn.losses import (
        SigLip,
        SimplexHead,
        alignment_error,
        backward_influence,
        higher_order_contrast,
        info_nce,
        lambda_orthogonal_terms,
        lambda_penalty,
        siglip,
        simplex_prototypes,
        supervised_contrastive,
        uncertain,
        vicreg,
    )
    from isthmus.nn.modality import (
        Attached,
        Change,
        Conditioned,
        Projector,
        Tuning,
        attach,
        bottleneck,
        compare_measured,
        film,
        measure_classes,
        measure_retrieval,
        own_norm,
        prompts,
        tune,
    )
    from isthmus.nn.paired_layers import (
        diagnose_models,
    )
    from isthmus.nn.regularise import (
        EWC,
        L2SP,
    )
    from isthmus.nn.sampling import (
        Balanced,
        MixedLoaders,
        SampledBatches,
        effective_number_weights,
    )
    from isthmus.nn.schedule import (
        Curriculum,
        GradualUnfreezing,
        item_losses,
        pacing,
    )
    from isthmus.nn.shaping import (
        Correction,
        CorrectionEnergy,
        DiagonalShaping,
        ElementwiseShaping,
        Energies,
        Folded,
        LowRankShaping,
        Prototypes,
        Shaped,
        ShapedConv2d,
        ShapedLinear,
        Shaping,
        ShapingKind,
        Spectrum,
        Structured,
        correction_energy,
        fold,
        paired_consistency,
        singular_values,
        spectral_norm,
        structure,
        watch_energy,
    )
    from isthmus.nn.stitching import (
        Stitched,
        StitchGrid,
        load_stitched,
        save_stitched,
        stitch,
        stitch_grid,
    )
    from isthmus.nn.tap import (
        Taps,
    )

for _package in ("torch", "lightning_fabric"):
    if find_spec(_package) is None:
        raise missing_extra(_package, "torch", "isthmus.nn")

_HOMES = {
    "isthmus.nn.ablation": (
        "Ablation",
        "ablate",
    ),
    "isthmus.nn.augment": (
        "Blur",
        "ChannelDropout",
        "Compose",
        "Gain",
        "Noise",
        "Resample",
    ),
    "isthmus.nn.batches": ("Batches",),
    "isthmus.nn.compact": (
        "compact_table",
        "distil",
        "prune_weights",
        "quantise",
        "remove_units",
        "size_of",
        "truncate",
    ),
    "isthmus.nn.compat": (
        "Classified",
        "CompatibilityMatrix",
        "CosineHead",
        "ForwardTransform",
        "LambdaAdapters",
        "TrainedEncoder",
        "UncertainTransform",
        "class_means",
        "compatibility_matrix",
        "encode",
        "extended_classifier",
        "paired_change",
        "partial_backfill",
        "train_bct",
        "train_fastfill",
        "train_forward",
        "train_independent",
        "train_lambda_adapters",
        "train_simplex",
        "transform_rows",
    ),
    "isthmus.nn.fisher": ("fisher_diagonal",),
    "isthmus.nn.layers": (
        "LayerComparison",
        "compare_layers",
    ),
    "isthmus.nn.loop": (
        "Trained",
        "train",
    ),
    "isthmus.nn.losses": (
        "SigLip",
        "SimplexHead",
        "alignment_error",
        "backward_influence",
        "higher_order_contrast",
        "info_nce",
        "lambda_orthogonal_terms",
        "lambda_penalty",
        "siglip",
        "simplex_prototypes",
        "supervised_contrastive",
        "uncertain",
        "vicreg",
    ),
    "isthmus.nn.modality": (
        "Attached",
        "Change",
        "Conditioned",
        "Projector",
        "Tuning",
        "attach",
        "bottleneck",
        "compare_measured",
        "film",
        "measure_classes",
        "measure_retrieval",
        "own_norm",
        "prompts",
        "tune",
    ),
    "isthmus.nn.paired_layers": ("diagnose_models",),
    "isthmus.nn.regularise": (
        "EWC",
        "L2SP",
    ),
    "isthmus.nn.sampling": (
        "Balanced",
        "MixedLoaders",
        "SampledBatches",
        "effective_number_weights",
    ),
    "isthmus.nn.schedule": (
        "Curriculum",
        "GradualUnfreezing",
        "item_losses",
        "pacing",
    ),
    "isthmus.nn.shaping": (
        "Correction",
        "CorrectionEnergy",
        "DiagonalShaping",
        "ElementwiseShaping",
        "Energies",
        "Folded",
        "LowRankShaping",
        "Prototypes",
        "Shaped",
        "ShapedConv2d",
        "ShapedLinear",
        "Shaping",
        "ShapingKind",
        "Spectrum",
        "Structured",
        "correction_energy",
        "fold",
        "paired_consistency",
        "singular_values",
        "spectral_norm",
        "structure",
        "watch_energy",
    ),
    "isthmus.nn.stitching": (
        "StitchGrid",
        "Stitched",
        "load_stitched",
        "save_stitched",
        "stitch",
        "stitch_grid",
    ),
    "isthmus.nn.tap": ("Taps",),
}

__all__ = [
    "EWC",
    "L2SP",
    "Ablation",
    "Attached",
    "Balanced",
    "Batches",
    "Blur",
    "Change",
    "ChannelDropout",
    "Classified",
    "CompatibilityMatrix",
    "Compose",
    "Conditioned",
    "Correction",
    "CorrectionEnergy",
    "CosineHead",
    "Curriculum",
    "DiagonalShaping",
    "ElementwiseShaping",
    "Energies",
    "Folded",
    "ForwardTransform",
    "Gain",
    "GradualUnfreezing",
    "LambdaAdapters",
    "LayerComparison",
    "LowRankShaping",
    "MixedLoaders",
    "Noise",
    "Projector",
    "Prototypes",
    "Resample",
    "SampledBatches",
    "Shaped",
    "ShapedConv2d",
    "ShapedLinear",
    "Shaping",
    "ShapingKind",
    "SigLip",
    "SimplexHead",
    "Spectrum",
    "StitchGrid",
    "Stitched",
    "Structured",
    "Taps",
    "Trained",
    "TrainedEncoder",
    "Tuning",
    "UncertainTransform",
    "ablate",
    "alignment_error",
    "attach",
    "backward_influence",
    "bottleneck",
    "class_means",
    "compact_table",
    "compare_layers",
    "compare_measured",
    "compatibility_matrix",
    "correction_energy",
    "diagnose_models",
    "distil",
    "effective_number_weights",
    "encode",
    "extended_classifier",
    "film",
    "fisher_diagonal",
    "fold",
    "higher_order_contrast",
    "info_nce",
    "item_losses",
    "lambda_orthogonal_terms",
    "lambda_penalty",
    "load_stitched",
    "measure_classes",
    "measure_retrieval",
    "own_norm",
    "pacing",
    "paired_change",
    "paired_consistency",
    "partial_backfill",
    "prompts",
    "prune_weights",
    "quantise",
    "remove_units",
    "save_stitched",
    "siglip",
    "simplex_prototypes",
    "singular_values",
    "size_of",
    "spectral_norm",
    "stitch",
    "stitch_grid",
    "structure",
    "supervised_contrastive",
    "train",
    "train_bct",
    "train_fastfill",
    "train_forward",
    "train_independent",
    "train_lambda_adapters",
    "train_simplex",
    "transform_rows",
    "truncate",
    "tune",
    "uncertain",
    "vicreg",
    "watch_energy",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(module), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module 'isthmus.nn' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
