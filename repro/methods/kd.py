"""Knowledge distillation (Hinton et al. 2015): (1 - alpha) CE + alpha KL T^2, the first two terms of equation 5."""

from torch import Tensor

from repro.losses import cross_entropy, soft_cross_entropy
from repro.models import Output
from repro.profiles import Setting
from repro.recipe import Recipe
from repro.training import Objective


def objective(labels: Tensor, teacher_logits: Tensor, setting: Setting, recipe: Recipe) -> Objective:
    """labels: (examples,); teacher_logits: (examples, classes), both of the training data and on the model's device."""

    def terms(output: Output, rows: Tensor) -> dict[str, Tensor]:
        soft = soft_cross_entropy(output.logits, teacher_logits[rows], setting.temperature,
                                  recipe.kl_reduction, recipe.temperature)  # fmt: skip
        hard = cross_entropy(output.logits, labels[rows])
        return {"ce": (1 - setting.alpha) * hard, "kl": setting.alpha * soft}

    return terms
