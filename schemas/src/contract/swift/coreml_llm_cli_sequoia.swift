import CoreML

/// One conversation with a prompt of up to 512 tokens. The program itself also gives every call its output buffers, so that
/// caches are written in place.
final class PromptAndTokenModel {
    let directory: URL
    let chunks: [String]
    let logitProcessor: MLModel
    var models: [MLModel] = []
    var shared: [String: MLMultiArray] = [:]
    /// Keys `[1, 511, 1, channels]` and values `[1, channels, 1, 511]` of each chunk's layers, made by the prompt.
    var caches: [[String: MLMultiArray]]

    init(directory: URL, chunks: [String]) throws {
        self.directory = directory
        self.chunks = chunks
        let url = directory.appendingPathComponent("logit-processor.mlmodelc")
        logitProcessor = try MLModel(contentsOf: url)
        caches = Array(repeating: [:], count: chunks.count)
    }

    /// Loads one function of all chunks; both at once would take the weights twice.
    func load(_ function: String) throws {
        models = []
        models = try chunks.enumerated().map { index, name in
            let configuration = MLModelConfiguration()
            configuration.computeUnits = index == 0 ? .cpuOnly : .cpuAndNeuralEngine
            configuration.functionName = function
            let url = directory.appendingPathComponent("\(name).mlmodelc")
            return try MLModel(contentsOf: url, configuration: configuration)
        }
    }

    /// The token after a prompt. Then `load("input_1_context_512")`.
    func next(afterPrompt prompt: [Int32]) throws -> Int32 {
        try load("input_512_context_512")
        return try run(ids: Array(repeating: 0, count: 512 - prompt.count) + prompt, length: prompt.count)
    }

    /// The token after another, the last of `length`.
    func next(after token: Int32, length: Int) throws -> Int32 {
        try run(ids: [token], length: length)
    }

    private func run(ids: [Int32], length: Int) throws -> Int32 {
        let given = try MLMultiArray(shape: [1, NSNumber(value: ids.count)], dataType: .int32)
        for (index, id) in ids.enumerated() { given[index] = NSNumber(value: id) }
        let tokens = try MLMultiArray(shape: [1], dataType: .int32)
        tokens[0] = NSNumber(value: length)
        for (index, model) in models.enumerated() {
            var inputs: [String: Any] = ["input_ids": given, "full_sequence_length": tokens]
            if index > 0 { inputs = caches[index].merging(shared) { own, _ in own } }
            let names = Set(model.modelDescription.inputDescriptionsByName.keys)
            let outputs = try model.prediction(
                from: MLDictionaryFeatureProvider(dictionary: inputs.filter { names.contains($0.key) }))
            for name in outputs.featureNames {
                let value = outputs.featureValue(for: name)!.multiArrayValue!
                if name.hasPrefix("new_k_cache") || name.hasPrefix("new_v_cache") {
                    caches[index][String(name.dropFirst("new_".count))] = value
                } else {
                    shared[name == "new_x" ? "x" : name] = value
                }
            }
        }
        let best = try logitProcessor.prediction(
            from: MLDictionaryFeatureProvider(dictionary: ["logits": shared["logits"]!]))
        return best.featureValue(for: "argmax")!.multiArrayValue![0].int32Value
    }
}
