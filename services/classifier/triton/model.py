"""What Triton's python backend runs for an encoder: token ids in, one embedding a text out.

Runs inside Triton's own environment, in one process an instance, so it imports nothing of Assay. That process ends by
itself when the server is gone. Tensors are those of the config that `server.py` writes:

    input_ids  int32 [n, L]     token ids, rows filled up with anything behind their length
    lengths    int32 [n]        how many ids of each row count, 1 to L
    embedding  float32 [n, D]   one row a text

Rows are read one by one unless the config's parameter `together` is "true". INT8 with dynamic ranges takes one range
for a whole tensor, so a text read beside others would get another embedding than alone, and now and then another label;
and on a CPU reading rows together saves next to nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """One instance: an onnxruntime session with a thread of its own."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        parameters = {name: value["string_value"] for name, value in config["parameters"].items()}
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(parameters["threads"])
        options.inter_op_num_threads = 1
        # Spinning threads would take the cores from the other instances and from whoever feeds them.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        folder = Path(args["model_repository"]) / args["model_version"]
        self._session = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self._ids, self._mask, self._output = parameters["ids"], parameters["mask"], [parameters["output"]]
        self._dimension = int(config["output"][0]["dims"][-1])
        self._together = parameters["together"] == "true"

    def execute(self, requests: list[Any]) -> list[Any]:
        responses = []
        for request in requests:
            try:
                tensor = pb_utils.Tensor("embedding", self._embed(request))
                responses.append(pb_utils.InferenceResponse(output_tensors=[tensor]))
            except Exception as fault:  # one bad request fails alone; the reason stays between server and classifier
                error = pb_utils.TritonError(f"{type(fault).__name__}: {fault}")
                responses.append(pb_utils.InferenceResponse(output_tensors=[], error=error))
        return responses

    def _embed(self, request: Any) -> Any:
        ids = pb_utils.get_input_tensor_by_name(request, "input_ids").as_numpy()
        lengths = pb_utils.get_input_tensor_by_name(request, "lengths").as_numpy()
        width = ids.shape[1]
        if lengths.shape != ids.shape[:1] or lengths.min() < 1 or lengths.max() > width:
            raise ValueError("lengths do not fit input_ids")
        if self._together:
            mask = (np.arange(width, dtype=np.int32) < lengths[:, None]).astype(np.int64)
            return self._session.run(self._output, {self._ids: ids.astype(np.int64), self._mask: mask})[0]
        embeddings = np.empty((len(ids), self._dimension), np.float32)
        ones = np.ones((1, width), np.int64)
        for place, length in enumerate(lengths.tolist()):
            row = {self._ids: ids[place : place + 1, :length].astype(np.int64), self._mask: ones[:, :length]}
            embeddings[place] = self._session.run(self._output, row)[0][0]
        return embeddings
