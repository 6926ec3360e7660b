"""Checkpoints with one fault each: refused in one line that names the file."""

import json
import random

import pytest
import torch

from experiment.run import Identity
from multitask.training.checkpoints import read_checkpoint, write_sealed
from tests.support.refusals import refusal
from tests.support.wrong_values import WRONG

IDENTITY = Identity("search", "0" * 32)


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "last.pt"
    write_sealed(path, {"step": 4, "network": {"w": torch.ones(100)}}, IDENTITY, "last")
    return path


def refused(path, **others):
    line = refusal(lambda: read_checkpoint(path, others.get("identity", IDENTITY), others.get("name", "last"), 4))
    assert "last.pt'" in line
    return line


def test_the_seal(checkpoint):
    content, _, line = checkpoint.read_bytes()[:-1].rpartition(b"\n")
    seal = json.loads(line)
    for key in seal:
        values = [*WRONG.values(), "0" * 64, 5]
        values = [value for value in values if value != seal[key]]
        for changed in [*({**seal, key: value} for value in values), {k: v for k, v in seal.items() if k != key}]:
            checkpoint.write_bytes(content + b"\n" + json.dumps(changed).encode() + b"\n")
            refused(checkpoint)
    strange = (b"", b"{", b"{}", b"null", b"[]", b"{" * 4000, b'{"a": ' * 600, b"{\xff}")
    for other in (*strange, line[:-1], line + line, b" " + line):
        checkpoint.write_bytes(content + b"\n" + other + b"\n")
        refused(checkpoint)


def test_the_content(checkpoint):
    whole, draw = checkpoint.read_bytes(), random.Random(0)
    size = len(whole)
    damaged = [whole[:k] for k in range(0, size, size // 40)] + [whole[k:] for k in range(1, size, size // 40)]
    damaged += [
        whole + b"x",
        whole + whole,
        whole[::-1],
        whole + b"\n",
        b"\n" + whole,
        bytes(size),
        whole[:4] + bytes(99),
    ]
    for _ in range(60):
        place, length = draw.randrange(size), draw.randrange(1, 9)
        damaged.append(whole[:place] + draw.randbytes(length) + whole[place + length :])
    for data in damaged:
        if data != whole:
            checkpoint.write_bytes(data)
            refused(checkpoint)


def test_of_something_else(checkpoint):
    assert "something else" in refused(checkpoint, identity=Identity("retraining", "0" * 32))
    assert "something else" in refused(checkpoint, identity=Identity("search", "1" * 32))
    assert "something else" in refused(checkpoint, identity=Identity("search", "0" * 32, "depth"))
    assert "something else" in refused(checkpoint, name="best")
    checkpoint.unlink()
    assert "missing" in refused(checkpoint)
    checkpoint.mkdir()
    assert "cannot be read" in refused(checkpoint)
