"""The files: torch.export's (.pt2) and ONNX. A format writes a program and gives a function that runs the file."""

import importlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from deployment.export.modules import Exportable
from experiment.errors import InputError, one_line

Run = Callable[[Sequence[Tensor]], list[Tensor]]
DESCRIPTION = "crosstalk.json"  # in a .pt2; in ONNX the metadata `crosstalk`
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def trace(module: Exportable, example: Sequence[Tensor]) -> ExportedProgram:
    """The program for images of any number, and any size of whole strides. Raises InputError where torch cannot follow
    the code.
    """
    sizes = {0: Dim("batch"), 2: module.stride * Dim("rows"), 3: module.stride * Dim("columns")}
    try:
        with _quiet(), torch.no_grad():
            module(*example)  # constants that are made once are made now, outside the trace
            return torch.export.export(
                module, tuple(example), dynamic_shapes=(tuple(sizes for _ in example),), strict=False
            )  # fmt: skip
    except InputError:
        raise
    except Exception as error:  # torch's, of many kinds, for any part of the network
        raise InputError(f"this network cannot be exported for images of any size ({one_line(error)[:120]})") from error


def check_packages(name: str) -> None:
    """Raises InputError where a format lacks a package."""
    if name != "onnx":
        return
    missing = []
    for package in PACKAGES:
        try:
            importlib.import_module(package)
        except ImportError:
            missing.append(package)
    if missing:
        raise InputError(f"--format onnx needs {', '.join(missing)}: expected pip install 'crosstalk[export]'")


def write_torch(program: ExportedProgram, module: Exportable, path: Path, about: Mapping[str, Any]) -> Run:
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files={DESCRIPTION: json.dumps(about)})
    with path.open("rb") as file:
        loaded = torch.export.load(file).module(check_guards=False)
    return lambda inputs: list(loaded(*inputs))


def write_onnx(program: ExportedProgram, module: Exportable, path: Path, about: Mapping[str, Any]) -> Run:
    import onnx
    import onnxruntime

    try:
        with _quiet():
            converted = torch.onnx.export(
                program, (), input_names=module.inputs, output_names=module.outputs, dynamo=True, verbose=False
            )
        assert converted is not None
        model = converted.model_proto
        onnx.helper.set_model_props(model, {"crosstalk": json.dumps(about)})
        path.write_bytes(model.SerializeToString())
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # torch's or the runtime's, for an operation that ONNX lacks
        raise InputError(f"this network cannot be written as ONNX ({one_line(error)[:120]})") from error

    def run(inputs: Sequence[Tensor]) -> list[Tensor]:
        given = {name: one.numpy() for name, one in zip(module.inputs, inputs, strict=True)}
        try:
            return [torch.from_numpy(one) for one in session.run(module.outputs, given)]
        except Exception as error:  # the runtime's
            raise InputError(f"this network does not run as ONNX ({one_line(error)[:120]})") from error

    return run


FORMATS: dict[str, Callable[[ExportedProgram, Exportable, Path, Mapping[str, Any]], Run]] = {
    "torch": write_torch,
    "onnx": write_onnx,
}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks about its own steps."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logger.setLevel(level)
