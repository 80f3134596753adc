"""A fine-tuned teacher that is given computes what transformers does."""

import tiny
import torch
from transformers import BertForSequenceClassification

from repro.models.classifier import FineTuned


def test_a_given_teacher_has_the_state_after_each_layer_and_the_classes_of_the_task():
    config = tiny.encoder("bert", 3).config
    config.num_labels = 2
    torch.manual_seed(0)
    given = BertForSequenceClassification(config).double().eval()
    output = FineTuned(given, (1, 0))(**tiny.batch())
    last = given.bert(**tiny.batch()).last_hidden_state
    assert output.cls_states.shape == (3, 3, 16)
    torch.testing.assert_close(output.cls_states[:, -1], last[:, 0])
    torch.testing.assert_close(output.pooled, last[:, 0])
    torch.testing.assert_close(output.logits, given(**tiny.batch()).logits[:, [1, 0]])
