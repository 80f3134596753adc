"""Knowledge distillation (Hinton et al. 2015): (1 - alpha) CE + alpha KL T^2, the first two terms of equation 5."""

from torch import Tensor

from repro.config.profiles import Setting
from repro.config.recipe import Recipe
from repro.models.classifier import Output
from repro.training.loop import Objective
from repro.training.losses import cross_entropy, soft_cross_entropy


def objective(
    labels: Tensor, teacher_logits: Tensor, setting: Setting, recipe: Recipe
) -> Objective:
    """labels: (examples,); teacher_logits: (examples, classes), both of the training data and on the model's device."""

    def terms(output: Output, rows: Tensor) -> dict[str, Tensor]:
        soft = soft_cross_entropy(
            output.logits,
            teacher_logits[rows],
            setting.temperature,
            recipe.kl_reduction,
            recipe.temperature,
        )
        hard = cross_entropy(output.logits, labels[rows])
        return {"ce": (1 - setting.alpha) * hard, "kl": setting.alpha * soft}

    return terms
