// Every bound in one table, each with its reason. Input is hostile: a limit is checked before memory
// is allocated for what it bounds.

/** The bounds that skipway puts on what it is given. Bytes and counts. */
export const limits = {
  /** A protobuf message cannot be longer (protobuf documentation, "Proto Limits"): 2 GiB. */
  modelBytesMax: 2_147_483_647,
  /**
   * Heap that the parts of one file may take once read, weights not counted: 100,000 nodes of the usual
   * kind, as many as the largest graphs of public model collections have. Two bytes of a file can become
   * an object of several hundred, and Node's heap ends at 2 GiB on small machines.
   */
  decodedBytesMax: 536_870_912,
  /** Messages inside messages: the limit of common protobuf readers. */
  messageDepthMax: 100,
  /** Findings of one file that are told one by one; the rest is a number. */
  diagnosticsMax: 200,
  /** One tensor in memory: the longest buffer of Node 20. */
  tensorBytesMax: 4_294_967_296,
  /** Nodes once functions are unfolded: more than twice the largest graphs of public collections. */
  nodesMax: 250_000,
  /** Names of values, attributes and weights in them: eight for each node, twice what usual nodes have. */
  unfoldedNamesMax: 2_000_000,
  /** The runtime refuses tensors of higher rank long before. */
  rankMax: 64,
  /** Integers of one constant that shape rules read: more than any Split has parts. */
  shapeConstantMax: 4096,
  /** Elements of one float constant that is computed on reading: scales, epsilons, statistics of a norm. */
  computedConstantMax: 4096,
  /** Elements of one gain or offset that is made up or composed: wider than any layer that is normalized. */
  foldedConstantMax: 65_536,
  /** Of all such constants of one graph: 32 MB as doubles, more than all norms of a large network have. */
  foldedElementsMax: 4_194_304,
  /**
   * Nested If/Loop/Scan bodies; real exports stay below five. Three messages each, so this is reached
   * before the protobuf reader's own limit of 100 nested messages.
   */
  subgraphDepthMax: 24,
  /** The text form of a graph: half of the longest string that V8 can hold. */
  textCharsMax: 268_435_456,
  /** JSON request body: a 224x224x3 image as JSON is 3 MB; a batch of sixteen fits. */
  requestBytesMax: 67_108_864,
  /** Request line and headers: what Node's parser takes by default, and twice what proxies do. */
  headersBytesMax: 16_384,
  /** Header fields: browsers behind two proxies send forty. */
  headersCountMax: 100,
  /** Path and query: two names of 128 characters, each written as escapes, and what is around them. */
  requestTargetCharsMax: 2048,
  /** Connections at a time: each takes some 10 KB, so these take the 100 MB that a small machine can spare. */
  httpConnectionsMax: 10_000,
  /** Requests of one connection that have no answer yet. Usual clients send one and wait. */
  pipelinedMax: 64,
  /** Bytes of one stream of events that its reader has not taken: a minute of events of fifty models. */
  unreadBytesMax: 1_048_576,
  /** Bytes of bodies that are on their way: eight of the largest, or thousands of usual ones. */
  bodiesBytesMax: 536_870_912,
  /** Nested arrays in a JSON tensor: as deep as the highest rank, and the request around it. */
  jsonDepthMax: 72,
  /** Tensors that a request names, inputs or outputs: beyond what any public model has. */
  requestTensorsMax: 4096,
  /**
   * Elements of an answer as JSON. Numbers take up to 25 characters, and a string of V8 ends at 2^29 of
   * them (its `String::kMaxLength`).
   */
  responseElementsMax: 16_777_216,
  /**
   * Objects of a JSON request: three for each tensor that it may name are enough. Objects with keys of
   * their own are what takes V8 longest: four million in a body of 60 MB took half a minute.
   */
  jsonObjectsMax: 24_576,
  /**
   * A JSON request without the data of its tensors: a kilobyte for each tensor that it may name. What is in it
   * becomes objects; ten million fields took V8 half a minute.
   */
  jsonOutlineBytesMax: 4_194_304,
  /** Chunks of a body of unknown length: each costs some microseconds, whatever is in it. Triton's own bound. */
  bodyChunksMax: 65_536,
  /**
   * How many times its size a compressed body may unfold to. Deflate reaches 1032; tensors of nothing but zeros do,
   * others stay far below.
   */
  inflationMax: 200,
  /** Up to here a body may unfold as it likes: a batch of a few images. */
  inflationFreeBytes: 4_194_304,
  /** A day: a request that would wait longer has no deadline. */
  requestTimeoutMsMax: 86_400_000,
  /**
   * Fields of a gRPC request, those of its tensors counted: each takes 50 ns of the server's one thread however
   * short it is, so these take 50 ms. Tensors in raw form have one field, whatever their size.
   */
  requestFieldsMax: 1_048_576,
  /** Requests of one gRPC stream that are on their way; beyond, the stream is not read. */
  streamRequestsMax: 64,
  /** Calls on one gRPC connection at once; clients wait with the next ones (HTTP/2, MAX_CONCURRENT_STREAMS). */
  grpcStreamsMax: 256,
  /** gRPC connections: a client has one, a busy one some. Each has buffers of its own. */
  grpcConnectionsMax: 1024,
  /** Requests waiting for one model process. Beyond it a client is told to come back. */
  queueRequestsMax: 256,
  /** Rows waiting for one model process, as many as have room in the bytes below with four floats each. */
  queueRowsMax: 16_777_216,
  /** Shapes of one model whose memory is remembered: more than requests usually wait, of some hundred bytes each. */
  plannedShapesMax: 4096,
  /** New shapes of one model whose memory is being planned: a second of work on the thread that plans. */
  plansWaitingMax: 16,
  /** For one answer of the thread that plans: the largest graphs of the zoo take a second on a busy machine. */
  planMsMax: 30_000,
  /** Heap of the thread that plans: a graph of 100,000 nodes takes some hundred megabytes. */
  planHeapBytesMax: 536_870_912,
  /** Bytes of tensors waiting for one model process. */
  queueBytesMax: 268_435_456,
  /** Inputs of a request that is copied to a shadow: comparing larger answers would take the server's time. */
  shadowBytesMax: 8_388_608,
  /** Strings of one tensor: in the model's process each becomes an object, of 24 bytes and more. */
  stringElementsMax: 1_048_576,
  /**
   * Series of one metric family. A thousand time series for each of fifty families are what one scraper
   * takes from one target without notice.
   */
  metricSeriesMax: 1000,
  /** Characters of a label value: the longest name of a model. */
  metricLabelCharsMax: 128,
  /** Input shapes of one model version that are counted apart; others are one. */
  metricShapesMax: 16,
  /** Requests of one load test: each leaves some twenty bytes behind, and sorting them must not take long. */
  loadRequestsMax: 20_000_000,
  /** Input shapes of one model whose run times are remembered: some KB each, and clients make shapes up. */
  batcherBucketsMax: 256,
  /** One frame between the server and a model process. */
  frameBytesMax: 536_870_912,
  /** Its header: descriptions of 10,000 tensors with long names, as models with all their weights as inputs have. */
  frameHeaderBytesMax: 16_777_216,
} as const;
