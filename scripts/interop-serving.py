"""Real clients of the Open Inference Protocol against a running server: `interop-serving.py triton|kserve HTTP GRPC`.

The two register messages of one name, so each has a process of its own. Prints one JSON document per check: client, check, ok and, where it is not, what was found. The models are those of
test/conformance/harness.ts.
"""

import asyncio
import json
import queue
import sys

import ml_dtypes
import numpy as np

CLIENTS, HTTP, GRPC = sys.argv[1:]
if CLIENTS == "triton":
    import tritonclient.grpc as tgrpc
    import tritonclient.grpc.aio as tgrpc_aio
    import tritonclient.http as thttp
    import tritonclient.http.aio as thttp_aio
    from tritonclient.utils import InferenceServerException, np_to_triton_dtype

VALUES = {
    "BOOL": np.array([True, False]),
    "UINT8": np.array([0, 255], np.uint8),
    "UINT16": np.array([0, 65535], np.uint16),
    "UINT32": np.array([0, 2**32 - 1], np.uint32),
    "UINT64": np.array([0, 2**64 - 1], np.uint64),
    "INT8": np.array([-128, 127], np.int8),
    "INT16": np.array([-(2**15), 2**15 - 1], np.int16),
    "INT32": np.array([-(2**31), 2**31 - 1], np.int32),
    "INT64": np.array([-(2**63), 2**53 + 1], np.int64),
    "FP16": np.array([1.5, -0.25], np.float16),
    "FP32": np.array([np.pi, -0.0], np.float32),
    "FP64": np.array([np.e, 5e-324], np.float64),
    "BF16": np.array([1.5, -0.25], ml_dtypes.bfloat16),
    "BYTES": np.array(["a".encode(), "é\n".encode()], np.object_),
}
# JSON has no form of them; empty ones travel as bytes.
BINARY_ONLY = ("FP16", "BF16")
X = np.array([[1, 2, 3]], np.float32)
Y = 2 * X + 1


def report(client, check, found):
    print(json.dumps({"client": client, "check": check, "ok": found is None, "found": found}), flush=True)


async def run(client, checks):
    """Runs coroutines or plain functions; one that raises or returns something has failed."""
    for name, check in checks:
        try:
            result = check()
            if asyncio.iscoroutine(result):
                result = await asyncio.wait_for(result, 30)
            report(client, name, None if result in (None, True) else repr(result))
        except Exception as error:  # whatever a client makes of an answer is a finding
            report(client, name, f"{type(error).__name__}: {error}"[:300])


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def equal(found, wanted):
    expect(found is not None, "no output")
    expect(found.shape == wanted.shape and found.dtype == wanted.dtype, f"{found!r} is not {wanted!r}")
    if wanted.dtype == np.object_:
        # JSON has text, the binary form has bytes.
        same = [one.encode() if isinstance(one, str) else one for one in found.flat] == list(wanted.flat)
    else:
        same = found.tobytes() == wanted.tobytes()
    expect(same, f"{found!r} is not {wanted!r}")


class Triton:
    """The checks that all four clients of tritonclient share; `wait` makes an answer of what a call gives."""

    def __init__(self, module, client, wire):
        self.module, self.client, self.wire = module, client, wire

    def inputs(self, values, **options):
        found = []
        for name, value in values.items():
            one = self.module.InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype))
            one.set_data_from_numpy(value, **options)
            found.append(one)
        return found

    def outputs(self, names, **options):
        return [self.module.InferRequestedOutput(name, **options) for name in names]

    def types(self, datatype):
        """The model `types` wants every input; those of other types are empty."""
        return {
            f"in_{name}": value if name == datatype else value[:0] for name, value in VALUES.items()
        }

    async def infer(self, *args, **options):
        answer = self.client.infer(*args, **options)
        return await answer if asyncio.iscoroutine(answer) else answer

    async def get(self, method, *args, **options):
        if self.wire == "grpc" and method.startswith("get_"):
            options["as_json"] = True
        answer = getattr(self.client, method)(*args, **options)
        return await answer if asyncio.iscoroutine(answer) else answer

    def checks(self):
        listed = [
            ("live", self.live),
            ("metadata of the server", self.server_metadata),
            ("metadata of a model", self.model_metadata),
            ("configuration", self.config),
            ("statistics", self.statistics),
            ("a model that is not there", self.not_there),
            ("an answer with its version and id", self.affine),
            ("a version that is named", self.named_version),
            ("outputs that are named", self.named_outputs),
            ("parameters of a request", self.parameters),
            ("classification", self.classification),
            ("a wrong shape is refused", self.wrong_shape),
            ("a timeout of the client", self.client_timeout),
            ("a timeout of the request", self.request_timeout),
            ("the repository", self.repository),
        ]
        listed += [(f"{name} as bytes", lambda name=name: self.dtype(name)) for name in VALUES]
        for kind in ("gzip", "deflate"):
            listed.append((f"{kind} both ways", lambda kind=kind: self.compressed(kind)))
        if self.wire == "http":
            listed += [
                (f"{name} as JSON", lambda name=name: self.dtype(name, binary=False))
                for name in VALUES
                if name not in BINARY_ONLY
            ]
            listed.append(("binary in, JSON out", self.mixed))
        return listed

    async def live(self):
        for method in ("is_server_live", "is_server_ready"):
            expect(await self.get(method), method)
        expect(await self.get("is_model_ready", "affine"), "affine")
        expect(await self.get("is_model_ready", "affine", "1"), "affine 1")
        expect(not await self.get("is_model_ready", "none"), "none")

    async def server_metadata(self):
        found = await self.get("get_server_metadata")
        expect(found["name"] == "skipway" and "statistics" in found["extensions"], found)

    async def model_metadata(self):
        found = await self.get("get_model_metadata", "affine", "2")
        expect(found["versions"] == ["1", "2"], found)
        [x] = found["inputs"]
        expect([x["name"], x["datatype"]] == ["x", "FP32"], found)
        expect([int(dim) for dim in x["shape"]] == [-1, 3], found)

    async def config(self):
        found = await self.get("get_model_config", "affine")
        found = found.get("config", found)
        expect(found["name"] == "affine" and found["input"][0]["data_type"] == "TYPE_FP32", found)

    async def statistics(self):
        await self.infer("affine", self.inputs({"x": X}))
        found = await self.get("get_inference_statistics", "affine")
        expect(isinstance(found.get("model_stats", []), list), found)

    async def not_there(self):
        try:
            await self.get("get_model_metadata", "none")
        except InferenceServerException as error:
            expect("none" in str(error), error)
            return
        raise AssertionError("no error")

    async def affine(self):
        answer = await self.infer("affine", self.inputs({"x": X}), request_id="42")
        equal(answer.as_numpy("y"), Y)
        equal(answer.as_numpy("z"), -X)
        head = answer.get_response()
        read = head.get if isinstance(head, dict) else lambda name: getattr(head, name)
        expect([read("model_name"), read("model_version"), read("id")] == ["affine", "2", "42"], head)

    async def named_version(self):
        answer = await self.infer("affine", self.inputs({"x": X}), model_version="1")
        equal(answer.as_numpy("y"), Y)

    async def named_outputs(self):
        answer = await self.infer("affine", self.inputs({"x": X}), outputs=self.outputs(["z"]))
        equal(answer.as_numpy("z"), -X)
        expect(answer.as_numpy("y") is None, "y was not asked for")

    async def parameters(self):
        options = {"priority": 1, "parameters": {"flag": True, "count": 3, "text": "t"}}
        equal((await self.infer("affine", self.inputs({"x": X}), **options)).as_numpy("y"), Y)

    async def classification(self):
        wanted = self.outputs(["y"], class_count=2)
        answer = await self.infer("affine", self.inputs({"x": X}), outputs=wanted)
        found = answer.as_numpy("y").reshape(-1).tolist()
        expect([one.decode().split(":")[1] for one in found] == ["2", "1"], found)

    async def wrong_shape(self):
        try:
            await self.infer("affine", self.inputs({"x": X.reshape(3, 1)}))
        except InferenceServerException as error:
            expect("[N,3]" in str(error), error)
            return
        raise AssertionError("no error")

    async def client_timeout(self):
        if self.wire == "http":
            return
        try:
            await self.infer("slow", self.inputs({"x": np.ones(8, np.float32)}), client_timeout=0.01)
        except InferenceServerException as error:
            expect("Deadline" in str(error) or "DEADLINE" in str(error.status()), error)
            return
        raise AssertionError("no error")

    async def request_timeout(self):
        try:
            await self.infer("slow", self.inputs({"x": np.ones(8, np.float32)}), timeout=1000)
        except InferenceServerException:
            return
        raise AssertionError("no error")

    async def repository(self):
        extensions = (await self.get("get_server_metadata"))["extensions"]
        if "model_repository" not in extensions:
            return
        found = await self.get("get_model_repository_index")
        rows = found.get("models", []) if isinstance(found, dict) else found
        expect("affine" in [row["name"] for row in rows], found)
        await self.get("unload_model", "half")
        expect(not await self.get("is_model_ready", "half"), "half after its unload")
        await self.get("load_model", "half")
        expect(await self.get("is_model_ready", "half"), "half after its load")

    async def dtype(self, datatype, binary=True):
        options = {} if self.wire == "grpc" else {"binary_data": binary}
        values = self.types(datatype)
        if not binary:
            inputs = [
                self.inputs({name: value}, binary_data=name[3:] in BINARY_ONLY)[0]
                for name, value in values.items()
            ]
        else:
            inputs = self.inputs(values, **options)
        outputs = self.outputs([f"out_{datatype}"], **options)
        answer = await self.infer("types", inputs, outputs=outputs)
        equal(answer.as_numpy(f"out_{datatype}"), VALUES[datatype])

    async def compressed(self, kind):
        x = np.arange(3000, dtype=np.float32).reshape(1000, 3)
        if self.wire == "grpc":
            options = {"compression_algorithm": kind}
        else:
            options = {"request_compression_algorithm": kind, "response_compression_algorithm": kind}
        equal((await self.infer("affine", self.inputs({"x": x}), **options)).as_numpy("z"), -x)

    async def mixed(self):
        outputs = self.outputs(["y"], binary_data=False) + self.outputs(["z"], binary_data=True)
        answer = await self.infer("affine", self.inputs({"x": X}), outputs=outputs)
        equal(answer.as_numpy("y"), Y)
        equal(answer.as_numpy("z"), -X)


def http_async(client, shared):
    def several():
        waiting = [client.async_infer("affine", shared.inputs({"x": X * i})) for i in range(20)]
        for i, one in enumerate(waiting):
            equal(one.get_result().as_numpy("z"), -X * i)

    return [("20 requests at once", several)]


def grpc_async(client, shared):
    answers = queue.Queue()

    def callback(result, error):
        answers.put((result, error))

    def several():
        for _ in range(20):
            client.async_infer("affine", shared.inputs({"x": X}), callback)
        for _ in range(20):
            result, error = answers.get(timeout=20)
            expect(error is None, error)
            equal(result.as_numpy("y"), Y)

    def stream():
        client.start_stream(callback)
        for i in range(20):
            client.async_stream_infer("affine", shared.inputs({"x": X * i}), request_id=str(i))
        for i in range(20):
            result, error = answers.get(timeout=20)
            expect(error is None, error)
            expect(result.get_response().id == str(i), "the order")
            equal(result.as_numpy("z"), -X * i)
        client.async_stream_infer("none", shared.inputs({"x": X}), request_id="a")
        client.async_stream_infer("affine", shared.inputs({"x": X}), request_id="b")
        _, error = answers.get(timeout=20)
        expect(error is not None and "none" in str(error), "an error in the stream")
        result, error = answers.get(timeout=20)
        expect(error is None and result.get_response().id == "b", "an answer after an error")
        client.stop_stream()

    def cancelled():
        call = client.async_infer("slow", shared.inputs({"x": np.ones(8, np.float32)}), callback)
        call.cancel()
        _, error = answers.get(timeout=20)
        expect("ancel" in str(error), error)

    return [("20 requests at once", several), ("a stream", stream), ("a cancelled request", cancelled)]


async def aio_stream(client, shared):
    async def requests():
        for i in range(5):
            yield {
                "model_name": "affine",
                "inputs": shared.inputs({"x": X * i}),
                "request_id": str(i),
                "enable_empty_final_response": True,
            }

    count = 0
    async for result, error in client.stream_infer(requests()):
        expect(error is None, error)
        equal(result.as_numpy("z"), -X * count)
        count += 1
    expect(count == 5, count)


def kserve_checks():
    from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

    base = f"http://{HTTP}"

    def request(**options):
        x = InferInput("x", list(X.shape), "FP32")
        x.set_data_from_numpy(X, **options)
        return InferRequest("affine", [x], request_id="9")

    def found(answer):
        outputs = {one.name: one for one in answer.outputs}
        equal(outputs["y"].as_numpy().reshape(X.shape).astype(np.float32), Y)
        expect(answer.id == "9", answer.id)

    rest = InferenceRESTClient(RESTConfig(protocol="v2", retries=0, timeout=20))

    async def rest_live():
        expect(await rest.is_server_live(base), "live")
        expect(await rest.is_server_ready(base), "ready")
        expect(await rest.is_model_ready(base, "affine"), "affine")

    async def rest_infer(binary):
        found(await rest.infer(base, request(binary_data=binary), model_name="affine"))

    async def rest_not_there():
        import httpx

        try:
            await rest.infer(base, request(binary_data=False), model_name="none")
        except httpx.HTTPStatusError as error:
            expect(error.response.status_code == 404, error)
            return
        raise AssertionError("no error")

    async def grpc(check):
        client = InferenceGRPCClient(GRPC, retries=0)
        try:
            await check(client)
        finally:
            await client.close()

    async def grpc_live(client):
        expect(await client.is_server_live(), "live")
        expect(await client.is_server_ready(), "ready")
        expect(await client.is_model_ready("affine"), "affine")

    async def grpc_infer(client, binary):
        found(await client.infer(request(binary_data=binary)))

    return [
        (
            "KServe REST",
            [
                ("live", rest_live),
                ("an answer, JSON", lambda: rest_infer(False)),
                ("an answer, binary", lambda: rest_infer(True)),
                ("a model that is not there", rest_not_there),
            ],
        ),
        (
            "KServe gRPC",
            [
                ("live", lambda: grpc(grpc_live)),
                ("an answer, typed", lambda: grpc(lambda client: grpc_infer(client, False))),
                ("an answer, raw", lambda: grpc(lambda client: grpc_infer(client, True))),
            ],
        ),
    ]


def health():
    import grpc

    channel = grpc.insecure_channel(GRPC)
    check = channel.unary_unary("/grpc.health.v1.Health/Check")
    expect(check(b"", timeout=10) == b"\x08\x01", "not SERVING")
    channel.close()


async def main():
    http = thttp.InferenceServerClient(HTTP, concurrency=8)
    shared = Triton(thttp, http, "http")
    await run("tritonclient.http", shared.checks() + http_async(http, shared))
    grpc = tgrpc.InferenceServerClient(GRPC)
    shared = Triton(tgrpc, grpc, "grpc")
    await run("tritonclient.grpc", shared.checks() + grpc_async(grpc, shared))
    http_aio = thttp_aio.InferenceServerClient(HTTP)
    await run("tritonclient.http.aio", Triton(thttp_aio, http_aio, "http").checks())
    await http_aio.close()
    grpc_aio = tgrpc_aio.InferenceServerClient(GRPC)
    shared = Triton(tgrpc_aio, grpc_aio, "grpc")
    stream = [("a stream", lambda: aio_stream(grpc_aio, shared))]
    await run("tritonclient.grpc.aio", shared.checks() + stream)
    await grpc_aio.close()
    await run("grpcio", [("health", health)])


async def kserve():
    for client, checks in kserve_checks():
        await run(client, checks)


asyncio.run(main() if CLIENTS == "triton" else kserve())
