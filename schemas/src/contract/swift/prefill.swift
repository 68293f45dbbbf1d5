import CoreML

/// Takes a prompt on the Neural Engine, and leaves keys and values for a decoder on the GPU.
final class PrefillModel {
    let embeddings: MLModel
    let chunks: [MLModel]
    let tokens: Int
    let contextLength: Int
    let window: Int
    /// Keys and values of each chunk's layers, `[1, heads, contextLength, headDim]`: the first rows are the prompt's.
    var caches: [[String: MLMultiArray]]

    init(
        directory: URL, embeddings: String, chunks: [String], tokens: Int, contextLength: Int, window: Int, heads: Int,
        headDim: Int, chunkLayers: [Int]
    ) throws {
        func load(_ name: String) throws -> MLModel {
            let configuration = MLModelConfiguration()
            configuration.computeUnits = .cpuAndNeuralEngine
            return try MLModel(contentsOf: directory.appendingPathComponent(name), configuration: configuration)
        }
        self.embeddings = try load(embeddings)
        self.chunks = try chunks.map(load)
        self.tokens = tokens
        self.contextLength = contextLength
        self.window = window
        let shape = [1, heads, contextLength, headDim].map { NSNumber(value: $0) }
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

    /// Takes up to `tokens` tokens of the prompt and gives their hidden states, `[1, tokens, hiddenSize]`. The row of the last
    /// token times the LM head gives the first logits.
    func take(_ given: [Int32], at position: Int) throws -> MLMultiArray {
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
                let (heads, width) = (cache.shape[1].intValue, cache.shape[3].intValue)
                for head in 0..<heads {
                    for element in 0..<given.count * width {
                        let to = (head * contextLength + position) * width + element
                        cache[to] = new[head * tokens * width + element]
                    }
                }
            }
        }
        return hidden
    }
}
