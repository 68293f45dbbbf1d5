import CoreML

/// One conversation with a model in one file.
final class MonolithicModel {
    let infer: MLModel
    let prefill: MLModel
    let state: MLState
    let contextLength: Int
    let parts: Int

    init(model: URL, contextLength: Int, parts: Int) throws {
        func load(_ function: String) throws -> MLModel {
            let configuration = MLModelConfiguration()
            configuration.computeUnits = .cpuAndNeuralEngine
            configuration.functionName = function
            return try MLModel(contentsOf: model, configuration: configuration)
        }
        infer = try load("infer")
        prefill = try load("prefill")
        state = infer.makeState()
        self.contextLength = contextLength
        self.parts = parts
    }

    /// Takes a full batch, or one token; the logits after a batch are those of its last token.
    func logits(after tokens: [Int32], at position: Int) throws -> [MLMultiArray] {
        let count = tokens.count
        let ids = try MLMultiArray(shape: [1, NSNumber(value: count)], dataType: .int32)
        let positions = try MLMultiArray(shape: [NSNumber(value: count)], dataType: .int32)
        let current = try MLMultiArray(shape: [1], dataType: .int32)
        let mask = try MLMultiArray(
            shape: [1, 1, NSNumber(value: count), NSNumber(value: contextLength)], dataType: .float16)
        current[0] = NSNumber(value: position)
        for row in 0..<count {
            ids[[0, NSNumber(value: row)]] = NSNumber(value: tokens[row])
            positions[row] = NSNumber(value: position + row)
            for key in 0..<contextLength {
                let hidden = key > position + row
                mask[[0, 0, NSNumber(value: row), NSNumber(value: key)]] = hidden ? -Float.infinity as NSNumber : 0
            }
        }
        let inputs = try MLDictionaryFeatureProvider(dictionary: [
            "input_ids": ids, "position_ids": positions, "causal_mask": mask, "current_pos": current,
        ])
        let outputs = try (count == 1 ? infer : prefill).prediction(from: inputs, using: state)
        return (1...parts).map { outputs.featureValue(for: "logits\($0)")!.multiArrayValue! }
    }
}
