"""A task's examples as text (mini, from GLUE's TSV files or from the hub), as token ids, and as padded batches.

torch and datasets are imported where they are used: a plan or a report needs neither.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from repro.config.cells import digest
from repro.config.tasks import Task
from repro.data.tsv import NO_LABEL, Row, read_tsv, tsv_path
from repro.errors import InputError, MissingError, one_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

SPLITS = ("train", "dev")
TEST = "test"  # of GLUE: its labels are not public
HUB_DATASET = "nyu-mll/glue"
HUB_REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"  # whatever is committed there later
_HUB_SECONDS = 5.0  # how long the hub may take to say that it is there


@dataclass(frozen=True, eq=False)
class Split:
    """One split of one task, in the file's order.

    texts: per example 1 or 2 strings. labels: (examples,) int64, NO_LABEL in "test". name: "train", "dev" or "test".
    source: "embedded", "GLUE_DIR" or "hub".
    """

    texts: tuple[tuple[str, ...], ...]
    labels: np.ndarray
    name: str
    source: str

    @cached_property
    def fingerprint(self) -> str:
        """The first 16 hex digits of the SHA-256 of texts and labels: the same wherever they were read from."""
        return digest([self.texts, self.labels.tolist()], 16)


def load(task: Task, split: str, cap: int = 0) -> Split:
    """The first `cap` examples (0: all) of a task's split, from the first source that applies.

    An embedded task comes with the package; else the TSV files in GLUE_DIR if that is set; else the hub. Only GLUE has
    the split "test", with NO_LABEL for every label, in the order of the index that GLUE's server wants.
    Raises InputError on an unknown split, a negative cap or a malformed file, MissingError if there is no such data.
    """
    allowed = SPLITS if task.embedded else (*SPLITS, TEST)
    if split not in allowed:
        raise one_of("split", split, allowed)
    if type(cap) is not int or cap < 0:
        raise InputError(
            f"a cap on the {split} examples must be a whole number, 0 for all, got {cap!r}"
        )
    source, rows = _rows(task, split)
    if not rows:
        raise InputError(f"{task.name} {split} from {source} has no examples; at least 1 is needed")
    rows = rows[: cap or None]
    return Split(
        tuple(texts for texts, _ in rows),
        np.array([label for _, label in rows], np.int64),
        split,
        source,
    )


def _rows(task: Task, split: str) -> tuple[str, list[Row]]:
    """The name of the source that applies, and all its rows."""
    if task.embedded:
        from repro.data import mini

        return "embedded", _of_records(mini.rows(task.name, split), task, "repro/data/mini")
    folder, labelled = os.environ.get("GLUE_DIR", ""), split != TEST
    if folder:
        return "GLUE_DIR", read_tsv(
            tsv_path(Path(folder).expanduser(), task, f"{split}.tsv"), task, labelled
        )
    return "hub", _of_records(
        _hub_records(task, split), task, f"{HUB_DATASET} {hub_config(task)}", labelled
    )


def _of_records(
    records: Iterable[Mapping[str, Any]], task: Task, source: str, labelled: bool = True
) -> list[Row]:
    """Rows of records that have GLUE's hub columns; InputError names the first bad record, counted from 0."""
    rows = []
    for number, record in enumerate(records):
        absent = [
            column
            for column in (*task.columns, *(["label"] if labelled else []))
            if column not in record
        ]
        if absent:
            raise InputError(
                f"{source}: record {number} has no column {absent[0]!r}; it has: {', '.join(record)}"
            )
        if labelled and record["label"] not in range(len(task.labels)):
            raise InputError(
                f"{source}: record {number} has label {record['label']!r}; use one of: "
                f"{', '.join(str(label) for label in range(len(task.labels)))}"
            )
        label = int(record["label"]) if labelled else NO_LABEL
        rows.append((tuple(str(record[column]) for column in task.columns), label))
    return rows


# GLUE from the hub


def hub_config(task: Task) -> str:
    """The task's name in the hub's data set, e.g. "sst2"."""
    return task.name.lower().replace("-", "")


def hub_missing(wanted: str, advice: str, reason: Exception) -> MissingError:
    """The one-line error for something that no hub gave. advice: what to do instead."""
    endpoint = os.environ.get("HF_ENDPOINT") or "the Hugging Face hub"
    cause = (str(reason).strip() or type(reason).__name__).splitlines()[0].removeprefix("Got: ")
    reached = f"{endpoint} did not give {wanted} ({cause[:160]})"
    return MissingError(f"{reached}; set HF_ENDPOINT to a hub that has it, {advice}")


def hub_answers(kind: str, name: str) -> None:
    """One question to the hub, answered in seconds or else raised: its client would wait for ever. kind: "model", .."""
    from huggingface_hub import HfApi

    HfApi().repo_info(name, repo_type=kind, timeout=_HUB_SECONDS)


def _hub_records(task: Task, split: str) -> Iterable[Mapping[str, Any]]:
    """The hub's records of a split (from the local hub cache where the hub is not there), checked for label order."""
    import datasets

    offline, refusal = datasets.config.HF_HUB_OFFLINE, None
    try:
        hub_answers("dataset", HUB_DATASET)
    except Exception as error:  # of the hub's client and its HTTP library
        refusal = error
        datasets.config.HF_HUB_OFFLINE = (
            True  # its cache may have the data; it would try six times, for 23 seconds
        )
    try:
        name = "validation" if split == "dev" else split
        loaded = datasets.load_dataset(
            HUB_DATASET, hub_config(task), split=name, revision=HUB_REVISION
        )
    except Exception as error:  # of five libraries; all mean that the data cannot be had
        advice = "or GLUE_DIR to a folder of GLUE's TSV files, or use PROFILE=demo, which needs no network"
        raise hub_missing(f"{HUB_DATASET} {hub_config(task)}", advice, refusal or error) from error
    finally:
        datasets.config.HF_HUB_OFFLINE = offline
    names = getattr(loaded.features.get("label"), "names", list(task.labels))
    if tuple(names) != task.labels:
        raise InputError(
            f"{HUB_DATASET} {hub_config(task)} has the labels {', '.join(names)}; "
            f"the package knows {', '.join(task.labels)}, in this order"
        )
    return loaded.to_list()


# tokens and batches


def encode(
    split: Split, tokenizer: "PreTrainedTokenizerBase", max_length: int
) -> list[dict[str, list[int]]]:
    """Token ids of every example, truncated to `max_length` (a pair at its longer text), not padded.

    Returns per example input_ids and, if the tokenizer gives them, token_type_ids.
    Raises InputError if max_length leaves no room for text or is more than the encoder's positions.
    """
    sides = [
        list(side) for side in zip(*split.texts, strict=True)
    ]  # 1 or 2 lists of (examples) strings
    least = tokenizer.num_special_tokens_to_add(pair=len(sides) == 2) + len(sides)
    if not least <= max_length <= tokenizer.model_max_length:
        raise InputError(
            f"max_length must be from {least} to {tokenizer.model_max_length}, got {max_length}"
        )
    batch = tokenizer(
        *sides, truncation=True, max_length=max_length, padding=False, return_attention_mask=False
    )
    return [dict(zip(batch, lists, strict=True)) for lists in zip(*batch.values(), strict=True)]


def collate(
    encoded: Sequence[dict[str, list[int]]], indices: Iterable[int], pad_id: int
) -> "dict[str, torch.Tensor]":
    """The examples of those indices as int64 tensors (batch, tokens of the longest), with their attention_mask.

    Ids are padded with pad_id, token types and mask with 0. Raises ValueError without an index.
    """
    import torch

    chosen = [encoded[index] for index in indices]
    lengths = np.array([len(example["input_ids"]) for example in chosen])
    filled = np.arange(lengths.max()) < lengths[:, None]  # (batch, tokens)
    batch = {"attention_mask": torch.from_numpy(filled.astype(np.int64))}
    for key in chosen[0]:
        padded = np.full(filled.shape, pad_id if key == "input_ids" else 0, np.int64)
        padded[filled] = np.concatenate([example[key] for example in chosen])
        batch[key] = torch.from_numpy(padded)
    return batch
