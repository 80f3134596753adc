"""A model hub on 127.0.0.1 for tests, with a small random BERT and made-up sentences as GLUE.

`build_hub(folder)` writes the files, `serve(folder)` serves them by the hub's protocol: repository
information, file lists, and files with ETag, of the commits that the package pins. As on the public
hub, bert-base-uncased redirects to google-bert/bert-base-uncased.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import numpy as np
import pandas as pd
import torch
from transformers import BertConfig, BertForPreTraining, BertTokenizer

from repro.config.tasks import GLUE, Task
from repro.data.encoders import REVISIONS
from repro.data.glue import HUB_DATASET, HUB_REVISION, hub_config

MODEL, ALIAS = "google-bert/bert-base-uncased", "bert-base-uncased"
COMMITS = {MODEL: REVISIONS[ALIAS], HUB_DATASET: HUB_REVISION}
SIZES = {"train": 64, "validation": 32}
WORDS = (
    "a the one no every old new small tall green red slow quick calm loud river bridge garden "
    "train letter boat lamp clock road window tree cloud bird dog cook singer pilot doctor "
    "farmer child sees builds likes finds moves opens paints sells loses keeps and not near "
    "under over before after with . ?"
).split()
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def little_bert(folder: Path, layers: int = 12, hidden: int = 32) -> None:
    """A random BERT with pretraining heads, as in the public checkpoint, and its tokenizer."""
    torch.manual_seed(layers)
    config = BertConfig(
        vocab_size=len(_SPECIAL) + len(WORDS),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * hidden,
        max_position_embeddings=128,
    )
    BertForPreTraining(config).save_pretrained(folder)
    vocabulary = {word: number for number, word in enumerate([*_SPECIAL, *WORDS])}
    BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=512).save_pretrained(
        folder
    )


def records(task: Task, split: str) -> pd.DataFrame:
    """GLUE's columns with sentences of WORDS; label 1 means that the last text contains "not"."""
    rng = np.random.default_rng([GLUE.index(task), SIZES[split]])
    labels = np.arange(SIZES[split]) % 2
    texts = {column: [_sentence(rng, ()) for _ in labels] for column in task.columns}
    texts[task.columns[-1]] = [_sentence(rng, ("not",) * label) for label in labels]
    return pd.DataFrame(
        texts | {"label": labels.astype(np.int64), "idx": np.arange(SIZES[split], dtype=np.int32)}
    )


def _sentence(rng: np.random.Generator, extra: tuple[str, ...]) -> str:
    words = [word for word in WORDS if word not in ("not", ".", "?")]
    return " ".join([*rng.choice(words, 6), *extra, *rng.choice(words, 3), "."])


def build_hub(folder: Path) -> None:
    """Write the served files: folder/models/<name>/ and folder/datasets/<name>/."""
    little_bert(folder / "models" / MODEL)
    home = folder / "datasets" / HUB_DATASET
    for task in GLUE:
        (home / hub_config(task)).mkdir(parents=True)
        for split in SIZES:
            records(task, split).to_parquet(
                home / hub_config(task) / f"{split}-00000-of-00001.parquet", index=False
            )
    card = {
        "dataset_info": [_features(task) for task in GLUE],
        "configs": [_files(task) for task in GLUE],
    }
    (home / "README.md").write_text(
        f"---\n{json.dumps(card, indent=1)}\n---\n# Own sentences\n"
    )  # JSON is YAML


def _features(task: Task) -> dict[str, Any]:
    label = {
        "class_label": {"names": {str(number): name for number, name in enumerate(task.labels)}}
    }
    columns = [{"name": column, "dtype": "string"} for column in task.columns]
    splits = [
        {"name": split, "num_bytes": 1, "num_examples": size} for split, size in SIZES.items()
    ]
    features = [*columns, {"name": "label", "dtype": label}, {"name": "idx", "dtype": "int32"}]
    return {"config_name": hub_config(task), "features": features, "splits": splits}


def _files(task: Task) -> dict[str, Any]:
    files = [{"split": split, "path": f"{hub_config(task)}/{split}-*"} for split in SIZES]
    return {"config_name": hub_config(task), "data_files": files}


class _Repository:
    """One served folder; a file's entity tag is its hash."""

    def __init__(self, home: Path, commit: str) -> None:
        self.files = {
            str(file.relative_to(home)): file for file in sorted(home.rglob("*")) if file.is_file()
        }
        self.commit = commit

    def tag(self, name: str) -> str:
        return hashlib.sha256(self.files[name].read_bytes()).hexdigest()

    def entries(self) -> list[dict[str, Any]]:
        """Folders, then files, as the hub lists them."""
        folders = sorted({name.rpartition("/")[0] for name in self.files} - {""})
        listed = [{"type": "directory", "path": name, "oid": "0" * 40} for name in folders]
        return [*listed, *map(self._file, self.files)]

    def _file(self, name: str) -> dict[str, Any]:
        size = self.files[name].stat().st_size
        listed = {"type": "file", "path": name, "size": size, "oid": self.tag(name)[:40]}
        large = {"lfs": {"oid": self.tag(name), "size": size, "pointerSize": 134}}
        return listed | large if name.endswith((".safetensors", ".parquet")) else listed

    def info(self, name: str) -> dict[str, Any]:
        siblings = [{"rfilename": file} for file in self.files]
        return {
            "_id": "0" * 24,
            "id": name,
            "sha": self.commit,
            "private": False,
            "gated": False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": siblings,
        }


class _Handler(BaseHTTPRequestHandler):
    root: Path

    def do_GET(self) -> None:
        kind, name, words = self._parse()
        home = self.root / kind / name
        if name == ALIAS:
            self._reply(307, b"", {"Location": self.path.replace(ALIAS, MODEL, 1)})
        elif not home.is_dir():
            self._reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif words and words[1] != COMMITS[name]:
            self._reply(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif words[:1] == ["resolve"]:
            self._file(_Repository(home, COMMITS[name]), "/".join(words[2:]))
        else:
            self._json(self._api(_Repository(home, COMMITS[name]), name, words))

    do_HEAD = do_POST = do_GET

    def _parse(self) -> tuple[str, str, list[str]]:
        """("models" or "datasets", the repository's name, the rest of the path)."""
        words = unquote(self.path.partition("?")[0]).strip("/").removeprefix("api/").split("/")
        kind = words.pop(0) if words[0] in ("models", "datasets") else "models"
        length = 1 if words[0] == ALIAS else 2
        return kind, "/".join(words[:length]), words[length:]

    def _api(self, repository: _Repository, name: str, words: list[str]) -> Any:
        if words[:1] == ["paths-info"]:  # the body names the paths
            body = self.rfile.read(int(self.headers["Content-Length"]))
            fields = json.loads(body) if body.startswith(b"{") else parse_qs(body.decode())
            return [entry for entry in repository.entries() if entry["path"] in fields["paths"]]
        if words[:1] == ["tree"]:
            within = "".join(f"{word}/" for word in words[2:])
            below = [entry for entry in repository.entries() if entry["path"].startswith(within)]
            deep = "recursive=true" in self.path.lower()
            return [
                entry for entry in below if deep or "/" not in entry["path"].removeprefix(within)
            ]
        return repository.info(name)

    def _file(self, repository: _Repository, name: str) -> None:
        commit = {"X-Repo-Commit": repository.commit}
        if name not in repository.files:
            self._reply(404, b"", commit | {"X-Error-Code": "EntryNotFound"})
        else:
            self._reply(
                200,
                repository.files[name].read_bytes(),
                commit | {"ETag": f'"{repository.tag(name)}"'},
            )

    def _json(self, content: Any) -> None:
        self._reply(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve the files of `build_hub` on a free port; yields the value for HF_ENDPOINT."""
    handler = type("Handler", (_Handler,), {"root": folder})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
