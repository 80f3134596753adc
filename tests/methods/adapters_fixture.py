"""Reference numbers for Compacter from the `adapters` package (adapters.json beside this file).

    python tests/methods/adapters_fixture.py

Run it in an environment of its own with `adapters` and `torch`: `adapters` needs an older
transformers than this package. Both sides fill their parameters by `values`, from the same names.
"""

import json
import zlib
from pathlib import Path

import torch

FILE = Path(__file__).with_name("adapters.json")
CONFIG = {
    "vocab_size": 50,
    "hidden_size": 64,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "max_position_embeddings": 24,
}
REDUCTION = 8
IDS = torch.tensor([[2, 10, 11, 12, 3], [2, 13, 14, 15, 3]])


def values(name: str, shape: torch.Size) -> torch.Tensor:
    """Values in float64 that depend on a parameter's name and shape alone."""
    phase = zlib.crc32(name.encode()) % 1000
    count = torch.arange(shape.numel(), dtype=torch.float64)
    return 0.3 * torch.sin(0.7 * count + phase).view(shape)


def canonical(name: str) -> str:
    """Our name of a parameter of the `adapters` package, e.g. "0.ffn.down.left"."""
    if "phm_rule" in name:
        return "slow"
    if ".adapters." not in name:
        return name
    layer = name.split(".")[2]
    place = "attention" if "attention" in name else "ffn"
    direction = "down" if "adapter_down" in name else "up"
    leaf = {"W_left": "left", "W_right": "right", "b": "bias"}[name.rsplit(".", 1)[1]]
    return f"{layer}.{place}.{direction}.{leaf}"


def main() -> None:
    """Write the file."""
    import adapters
    import transformers
    from transformers import BertConfig, BertModel

    versions = {m.__name__: m.__version__ for m in (adapters, torch, transformers)}
    record: dict = {"versions": versions}
    for variant, attention in (("both", True), ("ffn", False)):
        config = adapters.CompacterConfig(mh_adapter=attention, reduction_factor=REDUCTION)
        model = BertModel(BertConfig(**CONFIG), add_pooling_layer=False).double().eval()
        adapters.init(model)
        model.add_adapter("a", config=config)
        model.double().set_active_adapters("a")
        for name, parameter in model.named_parameters():
            parameter.data = values(canonical(name), parameter.shape)
        states = model(IDS).last_hidden_state[:, 0]  # (examples, hidden)
        (states * values("loss", states.shape)).sum().backward()
        gradients = {
            canonical(name): p.grad.norm().item()
            for name, p in model.named_parameters()
            if canonical(name) != name
        }
        base = BertModel(BertConfig(), add_pooling_layer=False)
        adapters.init(base)
        base.add_adapter("a", config=adapters.CompacterConfig(mh_adapter=attention))
        base.train_adapter("a")
        count = sum(p.numel() for p in base.parameters() if p.requires_grad)
        record[variant] = {"states": states.tolist(), "gradients": gradients, "count": count}
    FILE.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
