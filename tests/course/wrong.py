"""Typical mistakes: per lesson and solution cell a wrong solution, and what its tests still give.

docs/teaching.md describes them. Test cells that are not named give no points.
"""

WRONG = {
    "1-soft-targets": {
        "softmax": (
            "def softmax(logits, temperature=1.0):\n"
            "    powers = torch.exp(logits / temperature)  # overflows\n"
            "    return powers / powers.sum(dim=-1, keepdim=True)",
            {"softmax-by-hand": 2},
        ),
        "entropy": (
            "def entropy(probabilities):\n"
            "    return -(probabilities * torch.log2(probabilities)).sum(dim=-1)  # bits",
            {},
        ),
        "kd-loss": (
            "def kd_loss(student_logits, teacher_logits, temperature):\n"
            "    log_student = F.log_softmax(student_logits / temperature, dim=-1)\n"
            "    teacher = F.softmax(teacher_logits / temperature, dim=-1)\n"
            "    return F.kl_div(log_student, teacher, reduction='batchmean')  # no factor",
            {"kd-loss-by-hand": 2, "kd-loss-hidden": 2},
        ),
        "kd-gradient": (
            "def kd_gradient(student_logits, teacher_logits, temperature):\n"
            "    difference = softmax(student_logits, temperature)\n"
            "    difference = difference - softmax(teacher_logits, temperature)\n"
            "    return temperature * difference  # not divided by the batch's size",
            {"kd-gradient-by-hand": 1},
        ),
        "objective": (
            "def objective(student_logits, teacher_logits, labels, alpha, temperature):\n"
            "    soft = kd_loss(student_logits, teacher_logits, temperature)\n"
            "    return alpha * F.cross_entropy(student_logits, labels) + (1 - alpha) * soft",
            {},
        ),
        "answers": ("answers = {1: 'b', 2: 'a', 3: 'a', 4: 'b'}", {"answers-hidden": 2}),
    },
    "2-matching-layers": {
        "project": (
            "def project(points):\n"
            "    _, _, directions = torch.linalg.svd(points, full_matrices=False)  # not centred\n"
            "    return points @ directions[:2].T",
            {},
        ),
        "probe": (
            "def probe_accuracy(points, labels, new_points, new_labels):\n"
            "    weights = torch.linalg.lstsq(points, F.one_hot(labels).float()).solution\n"
            "    predicted = (new_points @ weights).argmax(dim=1)  # no constant\n"
            "    return (predicted == new_labels).float().mean().item()",
            {},
        ),
        "matched-layers": (
            "def matched_layers(student_layers, teacher_layers):\n"
            "    step = teacher_layers / student_layers\n"
            "    return [(k, round(k * step)) for k in range(1, student_layers)]  # halves to even",
            {"matched-layers-by-hand": 1, "matched-layers-hidden": 1},
        ),
        "patience": (
            "def patience_loss(student_states, teacher_states):\n"
            "    return ((student_states - teacher_states) ** 2).mean()  # not normalised",
            {},
        ),
        "objective": (
            "def objective(\n"
            "    output, teacher_logits, teacher_states, labels, pairs, alpha, temperature, beta\n"
            "):\n"
            "    total = (1 - alpha) * F.cross_entropy(output.logits, labels)\n"
            "    return total + alpha * kd_loss(output.logits, teacher_logits, temperature)",
            {"objective-hidden": 1},
        ),
        "answers": ("answers = {1: 'b', 2: 'a', 3: 'c', 4: 'a'}", {"answers-hidden": 1}),
    },
    "3-sharing-and-swapping": {
        "layer-parameters": (
            "def layer_parameters(hidden, inner):\n"
            "    return 4 * hidden * hidden + 2 * hidden * inner + 4 * hidden  # no biases",
            {},
        ),
        "attention-scores": (
            "def attention_scores(states, query, key):\n"
            "    return F.linear(states, *query) @ F.linear(states, *key).T  # not scaled",
            {"attention-scores-by-hand": 2},
        ),
        "effective-layers": (
            "def effective_layers(stored):\n"
            "    runs = range(1, stored + 1)  # also with six layers and more\n"
            "    return [(layer, False) for layer in runs] + [(layer, True) for layer in runs]",
            {"effective-layers-by-hand": 1, "effective-layers-hidden": 1},
        ),
        "run-stack": (
            "def run_stack(layers, wiring, x):\n"
            "    for layer, _ in wiring:\n"
            "        x = layers[layer - 1](x, False)  # never swapped\n"
            "    return x",
            {},
        ),
        "count": (
            "def count_parameters(modules):\n"
            "    return sum(p.numel() for module in modules for p in module.parameters())",
            {},
        ),
        "answers": ("answers = {1: 'a', 2: 'c', 3: 'a', 4: 'b'}", {"answers-hidden": 2}),
    },
    "4-teacher-confidence": {
        "confidence": (
            "def confidence(logits):\n"
            "    powers = np.exp(logits)  # overflows\n"
            "    return powers.max(axis=1) / powers.sum(axis=1)",
            {"confidence-by-hand": 1},
        ),
        "calibration": (
            "def calibration_error(confidences, right, bins=10):\n"
            "    bin_of = np.minimum((confidences * bins).astype(int), bins - 1)\n"
            "    groups = [bin_of == number for number in np.unique(bin_of)]\n"
            "    gaps = [abs(right[g].mean() - confidences[g].mean()) for g in groups]\n"
            "    return np.mean(gaps)  # bins not weighted",
            {"calibration-by-hand": 2, "calibration-hidden": 1},
        ),
        "ptp-labels": (
            "def ptp_labels(logits, gold, t1, t2):\n"
            "    correct = logits.argmax(axis=1) == gold\n"
            "    confident = confidence(logits) >= np.where(correct, t1, t2)  # not strict\n"
            "    return np.where(correct, 0, 2) + np.where(confident, 0, 1)",
            {"ptp-labels-by-hand": 2, "ptp-labels-hidden": 1},
        ),
        "suspects": (
            "def suspects(logits, gold, t2):\n"
            "    places = np.flatnonzero(ptp_labels(logits, gold, 0.5, t2) == 2)\n"
            "    return places[np.argsort(confidence(logits)[places])]  # least confident first",
            {},
        ),
        "by-label": (
            "def accuracy_by_label(right, labels):\n"
            "    groups = [right[labels == label] for label in range(4)]\n"
            "    return np.array([group.mean() if len(group) else 0.0 for group in groups])",
            {"by-label-hidden": 1},
        ),
        "answers": ("answers = {1: 'a', 2: 'a', 3: 'a', 4: 'b'}", {"answers-hidden": 1}),
    },
    "5-is-it-real": {
        "mean-sd": (
            "def mean_sd(scores):\n    return scores.mean(), scores.std()  # divided by n",
            {},
        ),
        "t-interval": (
            "def t_interval(scores, level=0.95):\n"
            "    half = stats.norm.ppf((1 + level) / 2) * scores.std(ddof=1) / len(scores) ** 0.5\n"
            "    return scores.mean() - half, scores.mean() + half  # normal, not t",
            {},
        ),
        "sign-flip": (
            "def sign_flip_p(differences):\n"
            "    signs = np.array(list(itertools.product([-1, 1], repeat=len(differences))))\n"
            "    means = (signs * differences).mean(axis=1)\n"
            "    return (means >= differences.mean() - 1e-9).mean()  # one-sided",
            {},
        ),
        "seeds-needed": (
            "def smallest_p(seeds):\n    return 1 / 2**seeds\n\n\nseeds_needed = 6",
            {"seeds-needed-hidden": 1},
        ),
        "standard-error": (
            "def standard_error(y):\n"
            "    a = y.shape[1] * y.mean(axis=1).var(ddof=1)\n"
            "    b = y.shape[0] * y.mean(axis=0).var(ddof=1)\n"
            "    return np.sqrt((a + b) / y.size)  # the rest counted twice",
            {"standard-error-by-hand": 2},
        ),
        "holm": (
            "def holm(p):\n    return np.minimum(len(p) * p, 1.0)  # Bonferroni",
            {},
        ),
        "answers": ("answers = {1: 'a', 2: 'a', 3: 'b', 4: 'a'}", {"answers-hidden": 2}),
    },
}
