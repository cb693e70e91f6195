"""New models that stay compatible with old ones: by training them so, or by adapters afterwards.

=====================================  ===========================================================
the new model is still to be trained   `train_bct`, `train_simplex` (d-Simplex, HOC)
old vectors are brought forward        `train_forward` (FCT), `train_fastfill`
both spaces meet, the old one stays    `train_lambda_adapters`; in closed form and a fraction of
                                       the time: `joint_maps`, with classes `class_maps`
one pair of maps for several tasks     `task_maps`, with a budget of forgetting for each
was it worth it                        `compatibility_matrix`, `partial_backfill`, `paired_change`
=====================================  ===========================================================
"""

from isthmus.nn.compat.classes import CosineHead, class_means, extended_classifier
from isthmus.nn.compat.encoder import (
    Classified,
    OldEncoder,
    TrainedEncoder,
    train_bct,
    train_independent,
    train_simplex,
)
from isthmus.nn.compat.evaluation import (
    CompatibilityMatrix,
    compatibility_matrix,
    paired_change,
    partial_backfill,
)
from isthmus.nn.compat.features import encode, transform_rows
from isthmus.nn.compat.forward import (
    ForwardTransform,
    UncertainTransform,
    train_fastfill,
    train_forward,
)
from isthmus.nn.compat.frozen.class_joint_maps import class_joint_maps
from isthmus.nn.compat.frozen.class_refinement import class_maps, refine_maps
from isthmus.nn.compat.frozen.joint_maps import JointMaps, joint_maps
from isthmus.nn.compat.frozen.several_tasks import TaskMaps, TaskSearch, task_maps
from isthmus.nn.compat.frozen.task_outcomes import Task
from isthmus.nn.compat.lambda_adapters import LambdaAdapters, train_lambda_adapters

__all__ = [
    "Classified",
    "CompatibilityMatrix",
    "CosineHead",
    "ForwardTransform",
    "JointMaps",
    "LambdaAdapters",
    "OldEncoder",
    "Task",
    "TaskMaps",
    "TaskSearch",
    "TrainedEncoder",
    "UncertainTransform",
    "class_joint_maps",
    "class_maps",
    "class_means",
    "compatibility_matrix",
    "encode",
    "extended_classifier",
    "joint_maps",
    "paired_change",
    "partial_backfill",
    "refine_maps",
    "task_maps",
    "train_bct",
    "train_fastfill",
    "train_forward",
    "train_independent",
    "train_lambda_adapters",
    "train_simplex",
    "transform_rows",
]
