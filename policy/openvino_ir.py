"""A version's weights as an OpenVINO model: GenAI converts our GGUF file, and four faults of the graph are fixed.

GenAI stores every constant as float16, also the frequencies of the rotary embedding. Those, the norms and the scalars
are restored in float32. It ignores how Llama 3.1 scales the frequencies, so they are written as they are scaled.
Matrices are marked as compressed, or OpenVINO would expand them to float32 in memory.

Its penalties move a logit towards zero, so a penalized token with a negative logit becomes likelier. Therefore SHIFT
is added to every logit: it changes no probability, leaves none negative, and makes the penalty the subtraction of
OpenAI's API.
"""

import os
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np

from policy.errors import UnsupportedModel
from policy.gguf import write_gguf
from policy.gguf_shapes import frequency_divisors, head_size, reasons_against_gguf, rope_of
from policy.model import read_config
from policy.weights import Array, model_tensors

MODEL = "openvino_model.xml"
MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3")
SHIFT = 128.0  # larger than any logit; its rounding error in float32 is 1e-5 at most


def reasons_against_openvino(config: dict[str, Any]) -> list[str]:
    """Return why OpenVINO GenAI cannot load a model with this config.json; empty when it can."""
    if config["model_type"] not in MODEL_TYPES:
        return [f"its model_type {config['model_type']!r} is not one of {', '.join(MODEL_TYPES)}"]
    return reasons_against_gguf(config)


def write_ir(base: Path, adapter: Path | None, out: Path, dtype: str = "f16", *, compressed: bool = True) -> Path:
    """Write base model + adapter as a folder for OpenVINO GenAI, completely or not at all; return the folder.

    `dtype` is one of policy.gguf.TYPES except f32, which OpenVINO's reader does not know. `compressed` matrices stay
    float16 in memory; computed in bfloat16 they cost 0.2 nats, so it is for float32. Raises UnsupportedModel.
    """
    import openvino as ov

    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        gguf = write_gguf(base, adapter, temporary / "weights.gguf", dtype)
        _convert(gguf)
        model = ov.Core().read_model(temporary / MODEL)
        _restore_float32(model, base)
        _raise_logits(model)
        ov.save_model(model, temporary / "exact.xml", compress_to_fp16=False)
        del model  # it has the file open that is removed next
        if compressed:
            _keep_compressed(temporary / "exact.xml")
        for name in ("weights.gguf", MODEL, MODEL.replace(".xml", ".bin")):
            (temporary / name).unlink()
        for suffix in ("bin", "xml"):
            (temporary / f"exact.{suffix}").rename(temporary / MODEL.replace("xml", suffix))
        shutil.rmtree(out, ignore_errors=True)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out


def _convert(gguf: Path) -> None:
    """Make GenAI read a GGUF file and save its OpenVINO model beside it.

    The compiled model is not used. It is compiled for float32: OpenVINO 2026.4 crashes (division by zero) where it
    compiles for bfloat16, the default on CPUs with AMX, and one thread.
    """
    import openvino_genai as genai

    scheduler = genai.SchedulerConfig()
    scheduler.num_kv_blocks = 1
    properties = {"enable_save_ov_model": True, "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    genai.ContinuousBatchingPipeline(str(gguf), scheduler, "CPU", properties)


def _restore_float32(model: Any, base: Path) -> None:
    """Restore in float32 every vector and scalar that was rounded to float16; they are found by value.

    Raises UnsupportedModel when the rotary frequencies are not among them.
    """
    from openvino import opset13 as ops

    config = read_config(base)
    head, rope = head_size(config), rope_of(config)
    theta = float(config.get("rope_theta") or rope.get("rope_theta") or 10000.0)
    frequencies = (theta ** (-np.arange(0, head, 2, dtype=np.float64) / head)).astype(np.float32)
    scalars = [np.array([value], np.float32) for value in (config["rms_norm_eps"], head**-0.5)]
    exact = {
        _key(values): values
        for values in (*scalars, *(tensor for _, tensor in model_tensors(base) if tensor.ndim == 1))
    }
    exact[_key(frequencies)] = frequencies / frequency_divisors(config)
    restored = set()
    for node in model.get_ops():
        kind = node.get_output_element_type(0).get_type_name() if node.get_type_name() == "Constant" else ""
        if kind not in ("f16", "f32"):
            continue
        shape = node.get_output_shape(0)
        values = exact.get(_key(np.asarray(node.data))) if int(np.prod(shape)) == max(shape, default=1) else None
        if values is None:
            continue
        restored.add(_key(np.asarray(node.data)))
        wide = ops.constant(values.reshape(shape))
        if kind == "f32":  # in models with quantized matrices
            node.output(0).replace(wide.output(0))
            continue
        for user in node.output(0).get_target_inputs():
            if user.get_node().get_type_name() == "Convert":
                user.get_node().output(0).replace(wide.output(0))
    if _key(frequencies) not in restored:
        raise UnsupportedModel(
            "the frequencies of the rotary embedding were not found in OpenVINO's graph, where they are float16 only"
        )


def _keep_compressed(path: Path) -> None:
    """Mark the conversion of float16 constants to float32 in a model's file as decompression.

    Without the mark OpenVINO converts them when it compiles, and holds twice the memory.
    """
    tree = ElementTree.parse(path)
    layers = {layer.get("id"): layer for layer in tree.iter("layer")}
    for edge in tree.iter("edge"):
        layer, data = layers[edge.get("to-layer")], layers[edge.get("from-layer")].find("data")
        is_half = data is not None and data.get("element_type") == "f16"  # only constants have the attribute and edges
        if layer.get("type") == "Convert" and is_half and layer.find("rt_info") is None:
            marks = ElementTree.Element("rt_info")
            ElementTree.SubElement(marks, "attribute", name="decompression", version="0")
            layer.insert(1, marks)
    tree.write(path, encoding="utf-8", xml_declaration=True)


def _key(values: Array) -> bytes:
    """Return the key of a vector: its bytes, rounded to float16."""
    return values.astype(np.float16).tobytes()


def _raise_logits(model: Any) -> None:
    from openvino import opset13 as ops

    result = model.get_results()[0]
    logits = result.input_value(0)
    names = logits.get_names()
    raised = ops.add(logits, ops.constant(np.float32(SHIFT)))
    logits.set_names(set())
    raised.output(0).set_names(names)
    result.input(0).replace_source_output(raised.output(0))
    model.validate_nodes_and_infer_types()
