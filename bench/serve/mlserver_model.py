"""The peer's model: ONNX Runtime behind MLServer, as its documentation says for runtimes of one's own."""

import numpy as np
import onnxruntime as ort
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):
    async def load(self) -> bool:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(
            self.settings.parameters.uri, options, providers=["CPUExecutionProvider"]
        )
        self.names = [one.name for one in self.session.get_outputs()]
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        feeds = {
            one.name: np.asarray(NumpyCodec.decode_input(one), dtype=np.float32)
            for one in payload.inputs
        }
        found = self.session.run(self.names, feeds)
        outputs = [NumpyCodec.encode_output(n, v) for n, v in zip(self.names, found)]
        return InferenceResponse(model_name=self.name, outputs=outputs)
