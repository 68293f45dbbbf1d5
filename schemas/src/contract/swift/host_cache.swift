import CoreML

/// One conversation with models that have no state. `meta.yaml` has the names and sizes.
final class HostCacheModel {
    let embeddings: MLModel
    let chunks: [MLModel]
    let head: MLModel
    let tokens: Int
    let contextLength: Int
    let window: Int
    let parts: Int
    /// Keys and values of each chunk's layers, `[1, channels, 1, contextLength]`.
    var caches: [[String: MLMultiArray]]

    /// `function` takes `tokens` tokens: `query_1`, `query_8`, `query_16`, `query_64`, or nothing of a model with one function.
    init(
        directory: URL, embeddings: String, chunks: [String], head: String, function: String?, tokens: Int,
        contextLength: Int, window: Int, channels: Int, chunkLayers: [Int], parts: Int
    ) throws {
        func load(_ name: String, _ function: String?) throws -> MLModel {
            let configuration = MLModelConfiguration()
            configuration.computeUnits = .cpuAndNeuralEngine
            if #available(macOS 15, iOS 18, *) { configuration.functionName = function }
            return try MLModel(contentsOf: directory.appendingPathComponent(name), configuration: configuration)
        }
        self.embeddings = try load(embeddings, function)
        self.chunks = try chunks.map { try load($0, function) }
        self.head = try load(head, nil)
        self.tokens = tokens
        self.contextLength = contextLength
        self.window = window
        self.parts = parts
        let shape = [1, channels, 1, contextLength].map { NSNumber(value: $0) }
        caches = try chunkLayers.map { layers in
            var caches: [String: MLMultiArray] = [:]
            for layer in 0..<layers {
                for name in ["k_cache_\(layer)", "v_cache_\(layer)"] {
                    let cache = try MLMultiArray(shape: shape, dataType: .float16)
                    for index in 0..<cache.count { cache[index] = 0 }
                    caches[name] = cache
                }
            }
            return caches
        }
    }

    /// Takes up to `tokens` tokens, commits their columns, and gives the logits after the last.
    func logits(after given: [Int32], at position: Int) throws -> [MLMultiArray] {
        let ids = try MLMultiArray(shape: [1, NSNumber(value: tokens)], dataType: .int32)
        let positions = try MLMultiArray(shape: [NSNumber(value: tokens)], dataType: .int32)
        let columns = contextLength + tokens
        let mask = try MLMultiArray(
            shape: [1, 1, NSNumber(value: tokens), NSNumber(value: columns)], dataType: .float16)
        for row in 0..<tokens {
            ids[row] = NSNumber(value: row < given.count ? given[row] : 0)
            positions[row] = NSNumber(value: min(position + row, contextLength - 1))
            for column in 0..<columns {
                let key = column < contextLength ? column : position + column - contextLength
                let inCache = column < contextLength && key < position
                let inCall = column >= contextLength && key <= position + row
                let attends = (inCache || inCall) && key + window > position + row
                mask[row * columns + column] = attends ? 0 : -10_000
            }
        }
        let lookup = try MLDictionaryFeatureProvider(dictionary: ["input_ids": ids, "position_ids": positions])
        let found = try embeddings.prediction(from: lookup)
        var hidden = found.featureValue(for: "hidden_states")!.multiArrayValue!
        for (index, chunk) in chunks.enumerated() {
            var inputs: [String: Any] = caches[index]
            inputs["hidden_states"] = hidden
            inputs["mask1"] = mask
            for name in ["cos1", "sin1"] { inputs[name] = found.featureValue(for: name)!.multiArrayValue! }
            let outputs = try chunk.prediction(from: try MLDictionaryFeatureProvider(dictionary: inputs))
            hidden = outputs.featureValue(for: "output_hidden_states")!.multiArrayValue!
            for (name, cache) in caches[index] {
                let new = outputs.featureValue(for: "new_\(name)")!.multiArrayValue!
                for channel in 0..<cache.shape[1].intValue {
                    for token in 0..<given.count {
                        cache[channel * contextLength + position + token] = new[channel * tokens + token]
                    }
                }
            }
        }
        let width = hidden.shape[2].intValue
        let row = try MLMultiArray(shape: [1, 1, NSNumber(value: width)], dataType: .float16)
        for channel in 0..<width { row[channel] = hidden[(given.count - 1) * width + channel] }
        let outputs = try head.prediction(from: try MLDictionaryFeatureProvider(dictionary: ["hidden_states": row]))
        return (1...parts).map { outputs.featureValue(for: "logits\($0)")!.multiArrayValue! }
    }
}
