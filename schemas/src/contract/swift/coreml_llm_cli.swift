import CoreML

/// One conversation over 64-token blocks. The program itself also gives every call its output buffers, and shifts the caches
/// while the other chunks run.
final class BlockModel {
    let pipeline: [MLModel]
    let cacheProcessor: MLModel
    let logitProcessor: MLModel
    let layers: [Int]
    /// `x`, `cos`, `sin`, `mask` and logits.
    var shared: [String: MLMultiArray] = [:]
    /// Keys `[1, cacheLength, 1, channels]` and values `[1, channels, 1, cacheLength]` of each chunk's layers.
    var caches: [[String: MLMultiArray]]

    /// `chunks` are the names of the pipeline in order, `layers` the layers of each: none for the first and the last.
    init(directory: URL, chunks: [String], layers: [Int], cacheLength: Int, channels: Int) throws {
        func load(_ name: String, _ units: MLComputeUnits) throws -> MLModel {
            let configuration = MLModelConfiguration()
            configuration.computeUnits = units
            let url = directory.appendingPathComponent("\(name).mlmodelc")
            return try MLModel(contentsOf: url, configuration: configuration)
        }
        pipeline = try chunks.enumerated().map { try load($1, $0 == 0 ? .cpuOnly : .cpuAndNeuralEngine) }
        cacheProcessor = try load("cache-processor", .cpuAndNeuralEngine)
        logitProcessor = try load("logit-processor", .cpuAndNeuralEngine)
        self.layers = layers
        func zeros(_ shape: [Int]) throws -> MLMultiArray {
            let array = try MLMultiArray(shape: shape.map { NSNumber(value: $0) }, dataType: .float16)
            for index in 0..<array.count { array[index] = 0 }
            return array
        }
        caches = try layers.map { count in
            var caches: [String: MLMultiArray] = [:]
            for layer in 0..<count {
                caches["k_cache_\(layer)"] = try zeros([1, cacheLength, 1, channels])
                caches["v_cache_\(layer)"] = try zeros([1, channels, 1, cacheLength])
            }
            return caches
        }
    }

    /// Computes the last block of a sequence, and gives the token after it. Every token of a prompt's full blocks must have
    /// been the last of a call before.
    func next(after sequence: [Int32]) throws -> Int32 {
        let start = (sequence.count - 1) / 64 * 64
        let ids = try MLMultiArray(shape: [1, 64], dataType: .int32)
        let length = try MLMultiArray(shape: [1], dataType: .int32)
        for token in 0..<64 {
            ids[token] = NSNumber(value: start + token < sequence.count ? sequence[start + token] : 0)
        }
        length[0] = NSNumber(value: start + 64)
        let isFull = sequence.count % 64 == 0
        for (index, model) in pipeline.enumerated() {
            var inputs: [String: Any] = ["input_ids": ids, "full_sequence_length": length]
            if index > 0 {
                inputs = caches[index].merging(shared) { own, _ in own }
            }
            let names = Set(model.modelDescription.inputDescriptionsByName.keys)
            let given = try MLDictionaryFeatureProvider(dictionary: inputs.filter { names.contains($0.key) })
            let outputs = try model.prediction(from: given)
            for name in outputs.featureNames where !name.contains("cache") {
                shared[name == "new_x" ? "x" : name] = outputs.featureValue(for: name)!.multiArrayValue!
            }
            for layer in 0..<(isFull ? layers[index] : 0) {
                let shifted = try cacheProcessor.prediction(from: MLDictionaryFeatureProvider(dictionary: [
                    "old_k_cache": caches[index]["k_cache_\(layer)"]!,
                    "old_v_cache": caches[index]["v_cache_\(layer)"]!,
                    "new_k_cache": outputs.featureValue(for: "new_k_cache_\(layer)")!.multiArrayValue!,
                    "new_v_cache": outputs.featureValue(for: "new_v_cache_\(layer)")!.multiArrayValue!,
                ]))
                caches[index]["k_cache_\(layer)"] = shifted.featureValue(for: "updated_k_cache")!.multiArrayValue!
                caches[index]["v_cache_\(layer)"] = shifted.featureValue(for: "updated_v_cache")!.multiArrayValue!
            }
        }
        let logits = shared.filter { $0.key.hasPrefix("logits") }
        let best = try logitProcessor.prediction(from: MLDictionaryFeatureProvider(dictionary: logits))
        return best.featureValue(for: "argmax")!.multiArrayValue![(sequence.count - 1) % 64].int32Value
    }
}
